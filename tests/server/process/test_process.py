"""End to end: a real server process, over HTTP, with the bundled model."""

from __future__ import annotations

import pickle
import socket
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from reelsense.bundle import DEFAULT_BUNDLE, write_bundle
from reelsense.errors import BundleError, ReelsenseError, SettingsError
from reelsense.inference.classifier import Classifier
from reelsense.server.middleware.metrics import FOLDER
from reelsense.server.process.run import _scratch_folder, run
from reelsense.server.settings import Settings
from tests import tiny
from tests.processes import ask, server

REVIEWS = [f"{'A wonderful film. ' * n}The best of the year." for n in range(1, 9)]


def test_concurrent_clients_get_same_predictions_as_alone() -> None:
    with server() as (address, _):
        alone = [ask(f"{address}/v1/predict", {"text": text}).body for text in REVIEWS]
        with ThreadPoolExecutor(16) as pool:
            answers = list(
                pool.map(lambda text: ask(f"{address}/v1/predict", {"text": text}), REVIEWS * 8)
            )
        assert {answer.status for answer in answers} == {200}
        for answer, expected in zip(answers, alone * 8, strict=True):
            positive = expected["predictions"][0]["positive"]
            assert answer.body["predictions"][0]["positive"] == pytest.approx(positive, abs=1e-4)
        assert ask(f"{address}/v1/predict", {"text": ""}).status == 422
        assert ask(f"{address}/predict?sentence=fine").body["response"]["sentence"] == "fine"
        assert ask(f"{address}/nothing").status == 404


def test_invalid_bodies_over_real_connection() -> None:
    head = "POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    chunked = head + "Transfer-Encoding: chunked\r\n\r\n"
    block = f"{0x100000:x}\r\n{'a' * 0x100000}\r\n"
    with server() as (address, _):
        assert status(address, f"{chunked}ZZ\r\n") == 400
        assert status(address, f"{chunked}{block * 3}0\r\n\r\n") == 413
        assert status(address, f"{head}Content-Length: 3000000\r\n\r\n{{") == 413
        assert ask(f"{address}/v1/predict", {"text": "A fine film."}).status == 200
        long = "A+fine+film.+" * 3000
        assert ask(f"{address}/predict?sentence={long}").status == 200


def status(address: str, request: str) -> int:
    """Send `request` unchanged; return the status of the response."""
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        with suppress(ConnectionError):  # the server may answer before it has read everything
            connection.sendall(request.encode())
        return int(connection.recv(100).split()[1])


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_stays_below_500_mb() -> None:
    with server() as (address, process):
        for length in (3, 30, 90, 150, 250, 400, 800):
            ask(f"{address}/v1/predict", {"texts": ["film " * length] * 16})
        ask(f"{address}/v1/predict", {"text": "." * 200_000})
        assert megabytes(process) < 500  # of which 77 detect languages


def megabytes(process: int) -> float:
    """Return the memory of `process` and its children; shared pages count once."""
    folder = Path(f"/proc/{process}")
    shares = (folder / "smaps_rollup").read_text().splitlines()
    own = int(next(line for line in shares if line.startswith("Pss:")).split()[1]) / 1024
    children = (folder / "task" / str(process) / "children").read_text().split()
    return own + sum(megabytes(int(child)) for child in children)


def test_serving_imports_no_pytorch() -> None:
    program = """
import sys, time
from reelsense.server.app import create_app
app = create_app()
client = app.test_client()
while client.get("/readyz").status_code != 200: time.sleep(0.01)
assert client.post("/v1/predict", json={"text": "A fine film."}).status_code == 200
print(sorted({"torch", "transformers", "sklearn", "onnx", "onnxruntime"} & set(sys.modules)))
"""
    result = subprocess.run(  # noqa: S603
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert result.stdout == "[]\n"


def test_prediction_reads_no_pickle() -> None:
    program = """
import sys
events = []
sys.addaudithook(lambda event, _: events.append(event) if event.startswith("pickle.") else None)
import pickle
pickle.loads(pickle.dumps(complex))  # the hook works
assert events.pop() == "pickle.find_class"
from reelsense.server.app import create_app
client = create_app().test_client()
answer = client.post("/v1/predict", json={"text": "A fine film."})
assert answer.status_code == 200, answer.get_data()
assert client.get("/metrics").status_code == 200
print(events)
"""
    result = subprocess.run(  # noqa: S603
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert result.stdout == "[]\n"


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("part", ["network", "tokenizer"])
def test_pickle_in_bundle_is_not_executed(tmp_path: Path, part: str) -> None:
    trap = tmp_path / "it-ran"
    evil = pickle.dumps(Payload(trap), protocol=0)
    bundle = tiny.bundle()
    parts = {"network": bundle.network, "tokenizer": bundle.tokenizer} | {
        part: evil if part == "network" else evil.decode()
    }
    write_bundle(tmp_path / "evil", replace(bundle, **parts))  # type: ignore[arg-type]
    with pytest.raises(BundleError):
        Classifier.load(tmp_path / "evil")
    assert not trap.exists()
    pickle.loads(evil).close()  # noqa: S301  # it would have
    assert trap.exists()


def test_server_leaves_no_files_in_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By default, OpenVINO writes an id for its usage statistics there, and gunicorn a socket."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    with server() as (address, _):
        assert ask(f"{address}/v1/predict", {"text": "A fine film."}).status == 200
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("free", "shared_metrics", "there"), [(0, True, 1), (0, False, 0), (1, True, 0)]
)
def test_shared_metrics_need_space_in_memory(
    free: int, shared_metrics: bool, there: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory, other = tmp_path / "memory", tmp_path / "other"
    memory.mkdir()
    other.mkdir()
    monkeypatch.setattr("reelsense.server.process.run._MEMORY", str(memory))
    monkeypatch.setattr(tempfile, "tempdir", str(other))
    monkeypatch.setattr(
        "shutil.disk_usage", lambda _: SimpleNamespace(free=free * 20 * 1024 * 1024)
    )
    monkeypatch.setenv(FOLDER, "of another program")
    with _scratch_folder(shared_metrics=shared_metrics) as folder:
        assert Path(folder).parent == (memory, other)[there]
    assert not Path(folder).exists()


def test_changed_bundle_prevents_start(tmp_path: Path) -> None:
    for path in DEFAULT_BUNDLE.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    card = tmp_path / "MODEL_CARD.md"
    card.write_text(card.read_text() + "!")
    command = [sys.executable, "-m", "reelsense", "serve", "--port", "0", "--model", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith("reelsense: ")
    assert "MODEL_CARD.md" in result.stderr
    assert result.stderr.count("\n") == 1


def test_port_in_use_is_rejected() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ReelsenseError, match=f"port {port}: .*--port") as error:
            run(Settings(port=port))
        assert error.value.code == "cannot-listen"


def test_invalid_host_is_rejected() -> None:
    with pytest.raises(SettingsError, match=r"'a\.\.b'"):
        run(Settings(host="a..b", insecure_public=True))
