"""Faults of a real server: overload, killed workers, full disks. Run by `make test-slow`."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from reelsense.server.middleware import keys
from tests import tiny_network
from tests.processes import ask, server
from tests.server.process.test_process import megabytes
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]

WORDS = ["great", "dull", "joy", "bore", "film", "the", "a", "was", "and", "never", "with", "cast"]


def review(number: int, words: int = 230) -> str:
    """Return a text that no other call returns, so that it is not cached."""
    return " ".join([str(number), *random.Random(number).choices(WORDS, k=words)])


def port_of(address: str) -> int:
    return int(address.rsplit(":", 1)[1])


def workers(process: int) -> list[int]:
    return [
        int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()
    ]


@dataclass
class Clients:
    """Clients that send requests without a pause over persistent connections, and their results."""

    port: int
    body: Callable[[int], object]
    statuses: Counter[int] = field(default_factory=Counter)
    answers: list[dict[str, Any]] = field(default_factory=list)
    # Requests without a response on connections that worked before.
    lost: list[str] = field(default_factory=list)
    slowest: float = 0.0

    def run(self, client: int, stop: threading.Event) -> None:
        number = client * 1_000_000
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=90)
        kept = False
        while not stop.is_set():
            number += 1
            started = time.monotonic()
            try:
                connection.request(
                    "POST",
                    "/v1/predict",
                    json.dumps(self.body(number)),
                    {"Content-Type": "application/json"},
                )
                answer = connection.getresponse()
                body = json.loads(answer.read())
            except (OSError, http.client.HTTPException) as error:
                if kept:
                    self.lost.append(repr(error))
                kept = False
                connection.close()
                time.sleep(0.05)
                continue
            self.statuses[answer.status] += 1
            self.answers.append(body)
            self.slowest = max(self.slowest, time.monotonic() - started)
            kept = not answer.will_close
        connection.close()


@contextmanager
def load(address: str, clients: int, body: Callable[[int], object]) -> Iterator[Clients]:
    """Run a number of clients during the block."""
    running = Clients(port_of(address), body)
    stop = threading.Event()
    threads = [threading.Thread(target=running.run, args=(n, stop)) for n in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield running
    finally:
        stop.set()
        for thread in threads:
            thread.join(100)


@dataclass
class Flood:
    """The responses to a flood of requests: durations by status, and Retry-After."""

    seconds: dict[int, list[float]] = field(default_factory=dict)
    retry_after: set[str | None] = field(default_factory=set)

    async def ask(self, port: int, body: bytes) -> None:
        started = time.monotonic()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        answer = await reader.read()
        writer.close()
        status = int(answer.split()[1])
        self.seconds.setdefault(status, []).append(time.monotonic() - started)
        if status == 429:
            header = re.search(rb"Retry-After: (\d+)", answer)
            self.retry_after.add(header[1].decode() if header else None)


def test_overload_is_rejected_and_accepted_requests_meet_deadline() -> None:
    bodies = (json.dumps({"texts": [review(n * 8 + k) for k in range(8)]}) for n in range(10**6))
    single = (json.dumps({"text": review(-n)}) for n in range(1, 10**6))

    async def send_flood(
        port: int, rate: float, seconds: float, process: int
    ) -> tuple[Flood, list[float]]:
        flood, memory, tasks = Flood(), [], []
        begun = time.monotonic()
        for n in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, begun + n / rate - time.monotonic()))
            body = next(single if n % 4 == 0 else bodies).encode()
            tasks.append(asyncio.create_task(flood.ask(port, body)))
            if n % int(rate) == 0:
                memory.append(megabytes(process))
        await asyncio.gather(*tasks)
        return flood, memory

    with server("--max-concurrent-requests", "24", "--deadline", "20") as (address, process):
        with load(address, 8, lambda n: {"texts": [review(n * 8 + k) for k in range(8)]}) as alone:
            time.sleep(6)
        capacity = alone.statuses[200] / 6
        flood, memory = asyncio.run(send_flood(port_of(address), 10 * capacity, 20, process))
        assert ask(f"{address}/readyz").status == 200
    counts = {status: len(durations) for status, durations in flood.seconds.items()}
    slowest = max(flood.seconds[200])
    print(f"{capacity:.1f} requests/s alone; ten times as many: {counts}, slowest {slowest:.1f} s")
    print(f"memory {min(memory):.0f} to {max(memory):.0f} MB")
    assert set(counts) <= {200, 429, 504}
    assert counts[429] > counts[200]
    assert counts[200] > 0.4 * capacity * 20
    assert slowest < 20
    assert flood.retry_after <= {str(seconds) for seconds in range(1, 21)}
    assert max(memory[10:]) < max(memory[2:10]) + 60


@pytest.mark.parametrize("count", [1, 2])
def test_killed_worker_is_replaced(count: int) -> None:
    with (
        server("--workers", str(count)) as (address, process),
        load(address, 6, lambda n: {"text": review(n)}) as clients,
    ):
        wait_until(lambda: clients.statuses[200] > 50, 30)
        for _ in range(2):
            worker, *others = workers(process)
            os.kill(worker, signal.SIGKILL)
            more = clients.statuses[200] + 50
            wait_until(lambda more=more: clients.statuses[200] > more, 30)  # type: ignore[misc]
            wait_until(lambda: len(workers(process)) == count, 30)
            assert worker not in workers(process)
            assert set(others) < set(workers(process))
    assert set(clients.statuses) == {200}
    assert len(clients.lost) <= 2 * 6


def test_sigterm_under_load_answers_accepted_requests() -> None:
    with (
        server() as (address, process),
        load(address, 12, lambda n: {"text": review(n)}) as clients,
    ):
        wait_until(lambda: clients.statuses[200] > 100, 30)
        os.kill(process, signal.SIGTERM)
        begun = time.monotonic()
        wait_until(lambda: not Path(f"/proc/{process}/task/{process}/children").read_text(), 30)
        assert time.monotonic() - begun < 10
    assert set(clients.statuses) == {200}
    assert clients.lost == []


@pytest.mark.parametrize("count", [1, 2])
def test_workers_exit_when_supervisor_is_killed(count: int, tmp_path: Path) -> None:
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "reelsense", "serve", "--port", "0", f"--workers={count}"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path)},
    )
    assert process.stdout is not None
    match = re.search(r"http://\S+", process.stdout.readline())
    assert match
    wait_until(lambda: answers(match[0]), 30)
    left = workers(process.pid)
    process.kill()
    process.wait(10)
    wait_until(lambda: not any(Path(f"/proc/{worker}").exists() for worker in left), 20)
    socket.create_server(("127.0.0.1", port_of(match[0]))).close()
    process.stdout.close()


def test_sigterm_during_job_answers_explanations() -> None:
    table = "n,text\n" + "".join(f"{n},{review(n)}\n" for n in range(3000))
    with server() as (address, process), ThreadPoolExecutor() as pool:
        name = posted(address, "/v1/jobs?name=a.csv", table.encode())["id"]
        wait_until(lambda: done(address, name) > 0, 30)
        kept = http.client.HTTPConnection("127.0.0.1", port_of(address), timeout=20)
        kept.connect()
        responses = [
            pool.submit(ask, f"{address}/v1/explain", {"text": review(n, 400)}) for n in range(4)
        ]
        wait_until(lambda: metrics(address)["reelsense_requests_in_flight"] == 4, 20)
        os.kill(process, signal.SIGTERM)
        begun = time.monotonic()
        time.sleep(0.2)
        kept.request("GET", "/readyz")
        answer = kept.getresponse()
        assert (answer.status, b"shutting down" in answer.read()) == (503, True)
        assert answer.will_close
        assert [response.result().status for response in responses] == [200] * 4
        wait_until(lambda: not Path(f"/proc/{process}/task/{process}/children").read_text(), 30)
        assert time.monotonic() - begun < 20


def test_sigquit_exits_at_once() -> None:
    with (
        server() as (address, process),
        load(address, 4, lambda n: {"texts": [review(n * 100 + k, 900) for k in range(100)]}),
    ):
        time.sleep(1)
        begun = time.monotonic()
        os.kill(process, signal.SIGQUIT)
        wait_until(lambda: not answers(address), 20)
        wait_until(lambda: not Path(f"/proc/{process}/task/{process}/children").read_text(), 20)
        assert time.monotonic() - begun < 4


def test_hundred_model_reloads_under_load_fail_no_request(tmp_path: Path) -> None:
    scores = {}
    for name, temperature in (("one", 1.0), ("two", 4.0)):
        manifest = tiny_network.write(tmp_path / name, name, temperature=temperature)
        scores[manifest.version] = 1 / (1 + 2.718281828 ** (-2 / temperature))
    current = tmp_path / "current"
    current.symlink_to("one")
    with (
        server("--model", str(current), "--cache-size", "100") as (address, process),
        load(address, 4, lambda n: {"text": "good", "risk": None}) as clients,
    ):
        memory = []
        for n in range(100):
            name = ("two", "one")[n % 2]
            turned = tmp_path / "turned"
            turned.symlink_to(name)
            turned.replace(current)
            if n % 2:
                os.kill(process, signal.SIGHUP)
            wait_until(lambda name=name: serves(address) == name, 20)  # type: ignore[misc]
            memory.append(megabytes(process))
        counted = metrics(address)
    assert set(clients.statuses) == {200}
    assert clients.lost == []
    seen: Counter[str] = Counter()
    for answer in clients.answers:
        version = answer["model"]["version"]
        seen[version] += 1
        assert answer["predictions"][0]["score"] == pytest.approx(scores[version], abs=1e-4)
    assert set(seen) == set(scores)
    assert counted['reelsense_model_loads_total{model="default",outcome="served"}'] >= 101
    assert max(memory[50:]) < max(memory[:50]) + 40


def serves(address: str) -> str:
    name: str = ask(f"{address}/readyz").body["model"]["name"]
    return name


def metrics(address: str) -> dict[str, float]:
    connection = http.client.HTTPConnection("127.0.0.1", port_of(address), timeout=20)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    connection.close()
    return {
        name: float(value)
        for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")
    }


def test_invalid_bundle_keeps_current_model(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    good = tiny_network.write(folder, "good")
    with (
        server("--model", str(folder)) as (address, process),
        load(address, 3, lambda n: {"text": "good"}) as clients,
    ):

        def rejected(count: int) -> bool:
            return (
                metrics(address).get(
                    'reelsense_model_loads_total{model="default",outcome="rejected"}'
                )
                == count
            )

        network = folder / "model.onnx"
        network.write_bytes(network.read_bytes()[:-10])  # half copied
        wait_until(lambda: rejected(1), 20)
        tiny_network.write(folder, "bad", weight=float("nan"))  # returns NaN
        wait_until(lambda: rejected(2), 20)
        shutil.rmtree(folder)
        os.kill(process, signal.SIGHUP)
        wait_until(lambda: rejected(3) or rejected(4), 20)
        assert ask(f"{address}/readyz").body["model"]["version"] == good.version
        (worker,) = workers(process)
        os.kill(worker, signal.SIGKILL)  # its replacement finds no model
        wait_until(lambda: "could not be loaded" in str(ask(f"{address}/readyz").body), 20)
        clients.statuses.clear()
        better = tiny_network.write(folder, "better", temperature=2)
        wait_until(lambda: ask(f"{address}/readyz").status == 200, 20)
        assert ask(f"{address}/v1/info").body["model"]["version"] == better.version
    assert {answer["model"]["version"] for answer in clients.answers if "model" in answer} == {
        good.version,
        better.version,
    }


def test_many_sighups_end_no_worker(tmp_path: Path) -> None:
    tiny_network.write(tmp_path / "model", "tiny")
    with server("--model", str(tmp_path / "model"), ready=False) as (address, process):
        until = time.monotonic() + 3
        while time.monotonic() < until:
            for pid in (process, *workers(process)):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGHUP)
        wait_until(lambda: ask(f"{address}/readyz").status == 200, 20)
        before = workers(process)
        for _ in range(2000):
            os.kill(before[0], signal.SIGHUP)
        assert ask(f"{address}/v1/predict", {"text": "good"}).status == 200
        assert workers(process) == before


def test_unreadable_keys_file_keeps_current_keys(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    secret, key = keys.make("shop")
    keys.add(file, key)
    with server("--keys-file", str(file)) as (address, process):

        def status() -> int:
            request = urllib.request.Request(  # noqa: S310
                f"{address}/v1/info", headers={"Authorization": f"Bearer {secret}"}
            )
            try:
                with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
                    return int(answer.status)
            except urllib.error.HTTPError as error:
                error.close()
                return error.code

        assert status() == 200
        file.write_text("a broken line")
        os.kill(process, signal.SIGHUP)
        time.sleep(0.5)
        assert status() == 200
        (worker,) = workers(process)
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: workers(process) not in ([], [worker]), 20)
        wait_until(lambda: ask(f"{address}/readyz").status == 200, 20)
        assert status() == 200
        _, other = keys.make("other")
        file.write_text(other.line())
        os.kill(process, signal.SIGHUP)
        wait_until(lambda: status() == 401, 20)


def test_low_limit_of_open_files_is_survived(tmp_path: Path) -> None:
    log = (tmp_path / "log").open("w+")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "reelsense", "serve", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=log,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (160, 160)),
    )
    try:
        address = f"http://127.0.0.1:{port}"
        wait_until(lambda: answers(address), 30)
        with ExitStack() as stack:
            for _ in range(200):
                stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
            for _ in range(3):
                assert ask(f"{address}/v1/predict", {"text": "A fine film."}).status == 200
        log.seek(0)
        assert "the limit of open files is 160" in log.read()
    finally:
        process.terminate()
        process.wait(20)
        log.close()


def answers(address: str) -> bool:
    try:
        return ask(f"{address}/readyz").status == 200
    except OSError:
        return False


def test_hostile_clients_do_not_delay_others() -> None:
    head = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    with server("--read-timeout", "4") as (address, _), ExitStack() as stack:

        def connection() -> socket.socket:
            client = socket.create_connection(("127.0.0.1", port_of(address)), timeout=20)
            return stack.enter_context(client)

        trickling = [connection() for _ in range(200)]
        for client in trickling:
            client.sendall(head + b"Content-Length: 100000\r\n\r\n{")
        silent = [connection() for _ in range(100)]
        half = [connection() for _ in range(100)]
        for client in half:
            client.sendall(b"GET /heal")
        large = [connection() for _ in range(50)]
        with load(address, 4, lambda n: {"text": review(n, 20)}) as clients:
            for n in range(40):
                for client in trickling:
                    with suppress(OSError):
                        client.sendall(b" ")
                with suppress(OSError):
                    large[n].sendall(head + b"Content-Length: 100000000\r\n\r\n" + b"x" * 500_000)
                time.sleep(0.15)
        assert set(clients.statuses) == {200}
        assert clients.lost == []
        assert clients.slowest < 2
        for client in (*trickling[:5], *half[:5]):
            assert client.recv(100).split()[1] == b"408"
        with suppress(ConnectionResetError):
            assert large[0].recv(100).startswith(b"HTTP/1.1 413 ")
        assert len(silent) == 100
        assert ask(f"{address}/healthz").status == 200


def posted(address: str, path: str, body: bytes) -> Any:
    request = urllib.request.Request(address + path, body, {"Content-Type": "text/csv"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        return json.loads(answer.read())


def done(address: str, name: str) -> int:
    return int(ask(f"{address}/v1/jobs/{name}").body["done"])


@pytest.mark.parametrize("count", [1, 2])
def test_job_survives_sigkill_with_one_result_per_row(count: int, tmp_path: Path) -> None:
    rows = 1500
    table = "n,text\n" + "".join(f"{n},{review(n, 60)}\n" for n in range(rows))
    options = [f"--database=sqlite:///{tmp_path / 'jobs.db'}", f"--workers={count}"]
    command = [sys.executable, "-m", "reelsense", "serve", "--port", "0", *options]
    process = subprocess.Popen(  # noqa: S603
        command, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None
        match = re.search(r"http://\S+", process.stdout.readline())
        assert match
        address = match[0]
        wait_until(lambda: ask(f"{address}/readyz").status == 200, 30)
        name = posted(address, "/v1/jobs?name=a.csv", table.encode())["id"]
        wait_until(lambda: done(address, name) >= 128, 30)
        for worker in workers(process.pid):
            os.kill(worker, signal.SIGKILL)
        with suppress(OSError):  # the killed worker does not answer
            wait_until(lambda: ask(f"{address}/readyz").status == 200, 30)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=10)

    with server(*options) as (address, _):
        before = done(address, name)
        assert 128 <= before < rows
        wait_until(lambda: done(address, name) == rows, 90)
        with urllib.request.urlopen(f"{address}/v1/jobs/{name}/result", timeout=30) as answer:  # noqa: S310
            lines = answer.read().decode().splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == [str(n) for n in range(rows)]
    assert all(line.endswith(",") for line in lines[1:])  # none has an error


def test_unusable_database_is_one_line_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = run("serve", "--port", "0", f"--database=sqlite:///{tmp_path / 'file' / 'jobs.db'}")
    assert result.returncode == 1
    assert re.fullmatch(r"reelsense: cannot write database .*jobs\.db: .*\n", result.stderr)


def run(*options: str, **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload, no-any-return]  # noqa: S603
        [sys.executable, "-m", "reelsense", *options],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **more,
    )


def no_files() -> None:
    """Let every write of the process fail, as on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


@pytest.mark.parametrize("how", ["/dev/full", "no files"])
def test_full_disk_does_not_stop_predictions(how: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with Path("/dev/full" if how == "/dev/full" else os.devnull).open("w") as out:
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "reelsense", "serve", "--port", str(port)],
            stdout=out,
            stderr=out,
            preexec_fn=no_files if how == "no files" else None,
        )
        try:
            address = f"http://127.0.0.1:{port}"
            wait_until(lambda: answers(address), 30)
            for n in range(20):
                assert ask(f"{address}/v1/predict", {"text": review(n)}).status == 200
        finally:
            process.terminate()
            process.wait(20)


def test_full_disk_is_one_line_error(tmp_path: Path) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("A joy.\n" * 2000)
    for options in (
        ("predict", "--input", str(texts), "--output", str(tmp_path / "out.csv")),
        ("key", "shop", "--keys-file", str(tmp_path / "keys")),
    ):
        result = run(*options, preexec_fn=no_files)
        assert result.returncode == 1, result
        assert re.fullmatch(r"reelsense: .*File too large\n", result.stderr.splitlines(True)[-1])
        assert "Traceback" not in result.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"texts.txt"}


def test_missing_folder_is_one_line_error(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    keys_file = missing / "keys"
    result = run("key", "shop", "--keys-file", str(keys_file))
    assert result.returncode == 1
    assert result.stdout == ""
    assert (
        result.stderr
        == f"reelsense: cannot write {keys_file}: the folder {missing} does not exist\n"
    )
    result = run("serve", "--port", "0", "--keys-file", str(keys_file))
    assert result.stderr == (
        f"reelsense: cannot read the keys in {keys_file}: No such file or directory; "
        f"create it with `reelsense key NAME --keys-file {keys_file}`\n"
    )
