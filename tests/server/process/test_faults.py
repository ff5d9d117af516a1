"""What happens when things go wrong, shown on the real server: run by `make test-slow`."""

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
    """A text that no other call returns: nothing of it is known already."""
    return " ".join([str(number), *random.Random(number).choices(WORDS, k=words)])


def port_of(address: str) -> int:
    return int(address.rsplit(":", 1)[1])


def workers(process: int) -> list[int]:
    return [
        int(each) for each in Path(f"/proc/{process}/task/{process}/children").read_text().split()
    ]


@dataclass
class Clients:
    """Clients that ask without a pause, each on a connection that is kept, and what they saw."""

    port: int
    body: Callable[[int], object]
    statuses: Counter[int] = field(default_factory=Counter)
    answers: list[dict[str, Any]] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    """Requests on a connection that was served before, which got no answer."""
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
    """Let so many clients ask while the block runs."""
    found = Clients(port_of(address), body)
    stop = threading.Event()
    threads = [threading.Thread(target=found.run, args=(n, stop)) for n in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield found
    finally:
        stop.set()
        for thread in threads:
            thread.join(100)


@dataclass
class Flood:
    """What a flood of requests got: seconds and Retry-After by status."""

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
            found = re.search(rb"Retry-After: (\d+)", answer)
            self.retry_after.add(found[1].decode() if found else None)


def test_overload_is_rejected_and_accepted_requests_meet_deadline() -> None:
    bodies = (json.dumps({"texts": [review(n * 8 + k) for k in range(8)]}) for n in range(10**6))
    single = (json.dumps({"text": review(-n)}) for n in range(1, 10**6))

    async def flood(
        port: int, rate: float, seconds: float, process: int
    ) -> tuple[Flood, list[float]]:
        found, memory, tasks = Flood(), [], []
        begun = time.monotonic()
        for n in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, begun + n / rate - time.monotonic()))
            body = next(single if n % 4 == 0 else bodies).encode()
            tasks.append(asyncio.create_task(found.ask(port, body)))
            if n % int(rate) == 0:
                memory.append(megabytes(process))
        await asyncio.gather(*tasks)
        return found, memory

    with server("--max-concurrent-requests", "24", "--deadline", "20") as (address, process):
        with load(address, 8, lambda n: {"texts": [review(n * 8 + k) for k in range(8)]}) as alone:
            time.sleep(6)
        capacity = alone.statuses[200] / 6
        found, memory = asyncio.run(flood(port_of(address), 10 * capacity, 20, process))
        assert ask(f"{address}/readyz").status == 200
    counts = {status: len(each) for status, each in found.seconds.items()}
    slowest = max(found.seconds[200])
    print(f"{capacity:.1f} requests/s alone; ten times as many: {counts}, slowest {slowest:.1f} s")
    print(f"memory {min(memory):.0f} to {max(memory):.0f} MB")
    assert set(counts) <= {200, 429, 504}
    assert counts[429] > counts[200]
    assert counts[200] > 0.4 * capacity * 20
    assert slowest < 20
    assert found.retry_after <= {str(seconds) for seconds in range(1, 21)}
    assert max(memory[10:]) < max(memory[2:10]) + 60


@pytest.mark.parametrize("count", [1, 2])
def test_killed_worker_is_replaced(count: int) -> None:
    with (
        server("--workers", str(count)) as (address, process),
        load(address, 6, lambda n: {"text": review(n)}) as found,
    ):
        wait_until(lambda: found.statuses[200] > 50, 30)
        for _ in range(2):
            worker, *others = workers(process)
            os.kill(worker, signal.SIGKILL)
            more = found.statuses[200] + 50
            wait_until(lambda more=more: found.statuses[200] > more, 30)  # type: ignore[misc]
            wait_until(lambda: len(workers(process)) == count, 30)
            assert worker not in workers(process)
            assert set(others) < set(workers(process))
    assert set(found.statuses) == {200}
    assert len(found.lost) <= 2 * 6


def test_sigterm_under_load_answers_accepted_requests() -> None:
    with server() as (address, process), load(address, 12, lambda n: {"text": review(n)}) as found:
        wait_until(lambda: found.statuses[200] > 100, 30)
        os.kill(process, signal.SIGTERM)
        begun = time.monotonic()
        wait_until(lambda: not Path(f"/proc/{process}/task/{process}/children").read_text(), 30)
        assert time.monotonic() - begun < 10
    assert set(found.statuses) == {200}
    assert found.lost == []


@pytest.mark.parametrize("count", [1, 2])
def test_workers_exit_when_supervisor_is_killed(count: int, tmp_path: Path) -> None:
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "reelsense", "serve", "--port", "0", f"--workers={count}"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path)},
    )
    assert process.stdout is not None
    found = re.search(r"http://\S+", process.stdout.readline())
    assert found
    wait_until(lambda: answers(found[0]), 30)
    left = workers(process.pid)
    process.kill()
    process.wait(10)
    wait_until(lambda: not any(Path(f"/proc/{each}").exists() for each in left), 20)
    socket.create_server(("127.0.0.1", port_of(found[0]))).close()
    process.stdout.close()


def test_sigterm_during_job_answers_explanations() -> None:
    table = "n,text\n" + "".join(f"{n},{review(n)}\n" for n in range(3000))
    with server() as (address, process), ThreadPoolExecutor() as pool:
        name = posted(address, "/v1/jobs?name=a.csv", table.encode())["id"]
        wait_until(lambda: done(address, name) > 0, 30)
        kept = http.client.HTTPConnection("127.0.0.1", port_of(address), timeout=20)
        kept.connect()
        asked = [
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
        assert [each.result().status for each in asked] == [200] * 4
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
        made = tiny_network.write(tmp_path / name, name, temperature=temperature)
        scores[made.version] = 1 / (1 + 2.718281828 ** (-2 / temperature))
    current = tmp_path / "current"
    current.symlink_to("one")
    with (
        server("--model", str(current), "--cache-size", "100") as (address, process),
        load(address, 4, lambda n: {"text": "good", "risk": None}) as found,
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
    assert set(found.statuses) == {200}
    assert found.lost == []
    seen: Counter[str] = Counter()
    for answer in found.answers:
        version = answer["model"]["version"]
        seen[version] += 1
        assert answer["predictions"][0]["score"] == pytest.approx(scores[version], abs=1e-4)
    assert set(seen) == set(scores)
    assert counted['reelsense_model_loads_total{outcome="served"}'] >= 101
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
        load(address, 3, lambda n: {"text": "good"}) as found,
    ):

        def refused(count: int) -> bool:
            return metrics(address).get('reelsense_model_loads_total{outcome="refused"}') == count

        network = folder / "model.onnx"
        network.write_bytes(network.read_bytes()[:-10])  # half copied
        wait_until(lambda: refused(1), 20)
        tiny_network.write(folder, "bad", weight=float("nan"))  # answers nonsense
        wait_until(lambda: refused(2), 20)
        shutil.rmtree(folder)
        os.kill(process, signal.SIGHUP)
        wait_until(lambda: refused(3) or refused(4), 20)
        assert ask(f"{address}/readyz").body["model"]["version"] == good.version
        (worker,) = workers(process)
        os.kill(worker, signal.SIGKILL)  # what takes its place finds no model
        wait_until(lambda: "could not be loaded" in str(ask(f"{address}/readyz").body), 20)
        found.statuses.clear()
        better = tiny_network.write(folder, "better", temperature=2)
        wait_until(lambda: ask(f"{address}/readyz").status == 200, 20)
        assert ask(f"{address}/v1/info").body["model"]["version"] == better.version
    assert {answer["model"]["version"] for answer in found.answers if "model" in answer} == {
        good.version,
        better.version,
    }


def test_many_sighups_end_no_worker(tmp_path: Path) -> None:
    tiny_network.write(tmp_path / "model", "tiny")
    with server("--model", str(tmp_path / "model"), ready=False) as (address, process):
        until = time.monotonic() + 3
        while time.monotonic() < until:
            for each in (process, *workers(process)):
                with suppress(ProcessLookupError):
                    os.kill(each, signal.SIGHUP)
        wait_until(lambda: ask(f"{address}/readyz").status == 200, 20)
        before = workers(process)
        for _ in range(2000):
            os.kill(before[0], signal.SIGHUP)
        assert ask(f"{address}/v1/predict", {"text": "good"}).status == 200
        assert workers(process) == before


def test_unreadable_keys_file_keeps_current_keys(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    secret, made = keys.make("shop")
    keys.add(file, made)
    with server("--keys-file", str(file)) as (address, process):

        def asked() -> int:
            request = urllib.request.Request(  # noqa: S310
                f"{address}/v1/info", headers={"Authorization": f"Bearer {secret}"}
            )
            try:
                with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
                    return int(answer.status)
            except urllib.error.HTTPError as error:
                error.close()
                return error.code

        assert asked() == 200
        file.write_text("a broken line")
        os.kill(process, signal.SIGHUP)
        time.sleep(0.5)
        assert asked() == 200
        (worker,) = workers(process)
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: workers(process) not in ([], [worker]), 20)
        wait_until(lambda: ask(f"{address}/readyz").status == 200, 20)
        assert asked() == 200
        _, other = keys.make("other")
        file.write_text(other.line())
        os.kill(process, signal.SIGHUP)
        wait_until(lambda: asked() == 401, 20)


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
            made = socket.create_connection(("127.0.0.1", port_of(address)), timeout=20)
            return stack.enter_context(made)

        trickling = [connection() for _ in range(200)]
        for each in trickling:
            each.sendall(head + b"Content-Length: 100000\r\n\r\n{")
        silent = [connection() for _ in range(100)]
        half = [connection() for _ in range(100)]
        for each in half:
            each.sendall(b"GET /heal")
        large = [connection() for _ in range(50)]
        with load(address, 4, lambda n: {"text": review(n, 20)}) as found:
            for n in range(40):
                for each in trickling:
                    with suppress(OSError):
                        each.sendall(b" ")
                with suppress(OSError):
                    large[n].sendall(head + b"Content-Length: 100000000\r\n\r\n" + b"x" * 500_000)
                time.sleep(0.15)
        assert set(found.statuses) == {200}
        assert found.lost == []
        assert found.slowest < 2
        for each in (*trickling[:5], *half[:5]):
            assert each.recv(100).split()[1] == b"408"
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
    """Of the workers, in the midst of it, and of the whole server."""
    rows = 1500
    table = "n,text\n" + "".join(f"{n},{review(n, 60)}\n" for n in range(rows))
    options = [f"--database=sqlite:///{tmp_path / 'jobs.db'}", f"--workers={count}"]
    command = [sys.executable, "-m", "reelsense", "serve", "--port", "0", *options]
    process = subprocess.Popen(  # noqa: S603
        command, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found
        address = found[0]
        wait_until(lambda: ask(f"{address}/readyz").status == 200, 30)
        name = posted(address, "/v1/jobs?name=a.csv", table.encode())["id"]
        wait_until(lambda: done(address, name) >= 128, 30)
        for worker in workers(process.pid):
            os.kill(worker, signal.SIGKILL)
        with suppress(OSError):  # of the worker that is gone
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
    found = run("serve", "--port", "0", f"--database=sqlite:///{tmp_path / 'file' / 'jobs.db'}")
    assert found.returncode == 1
    assert re.fullmatch(r"reelsense: cannot write database .*jobs\.db: .*\n", found.stderr)


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
    """Let the process write nothing, as on a full disk."""
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
        found = run(*options, preexec_fn=no_files)
        assert found.returncode == 1, found
        assert re.fullmatch(r"reelsense: .*File too large\n", found.stderr.splitlines(True)[-1])
        assert "Traceback" not in found.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"texts.txt"}


def test_missing_folder_is_one_line_error(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    keys_file = nowhere / "keys"
    found = run("key", "shop", "--keys-file", str(keys_file))
    assert found.returncode == 1
    assert found.stdout == ""
    assert found.stderr == f"reelsense: cannot write {keys_file}: there is no folder {nowhere}\n"
    found = run("serve", "--port", "0", "--keys-file", str(keys_file))
    assert found.stderr == (
        f"reelsense: cannot read the keys in {keys_file}: No such file or directory; "
        f"create it with `reelsense key NAME --keys-file {keys_file}`\n"
    )
