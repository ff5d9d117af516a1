"""End to end: the real server process, over HTTP, with the model that comes along."""

from __future__ import annotations

import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from reelsense import bundle as bundles
from reelsense.errors import ReelsenseError
from reelsense.server.run import run
from tests.processes import ask, server

REVIEWS = [f"{'A wonderful film. ' * n}The best of the year." for n in range(1, 9)]


def test_many_clients_at_once_get_the_answers_they_would_get_alone() -> None:
    with server() as (address, _):
        alone = [ask(f"{address}/v1/predict", {"text": text}).body for text in REVIEWS]
        with ThreadPoolExecutor(16) as pool:
            answers = list(
                pool.map(lambda text: ask(f"{address}/v1/predict", {"text": text}), REVIEWS * 8)
            )
        assert {answer.status for answer in answers} == {200}
        for answer, expected in zip(answers, alone * 8, strict=True):
            found, wanted = answer.body["predictions"][0], expected["predictions"][0]
            assert found["positive"] == pytest.approx(wanted["positive"], abs=1e-4)
        assert ask(f"{address}/v1/predict", {"text": ""}).status == 422
        assert ask(f"{address}/predict?sentence=fine").body["response"]["sentence"] == "fine"
        assert ask(f"{address}/nothing").status == 404


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_stays_below_400_mb() -> None:
    with server() as (address, _):
        for length in (3, 30, 90, 150, 250, 400, 800):
            ask(f"{address}/v1/predict", {"texts": ["film " * length] * 16})
        assert resident_megabytes() < 400


def resident_megabytes() -> float:
    """Of all processes below this one, each page counted once."""
    total = 0.0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
            shares = (process / "smaps_rollup").read_text()
        except OSError:  # gone in the meantime, or another user's
            continue
        if b"\0reelsense\0serve" in command:
            line = next(line for line in shares.splitlines() if line.startswith("Pss:"))
            total += int(line.split()[1]) / 1024
    return total


def test_serving_imports_no_pytorch() -> None:
    program = """
import sys
from reelsense import Classifier
from reelsense.server import create_app
app = create_app(classifier=Classifier.load())
client = app.test_client()
while client.get("/readyz").status_code != 200: pass
assert client.post("/v1/predict", json={"text": "A fine film."}).status_code == 200
print(sorted({"torch", "transformers", "sklearn", "nncf", "onnx"} & set(sys.modules)))
"""
    found = subprocess.run(  # noqa: S603
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert found.stdout == "[]\n"


def test_nothing_is_left_in_the_users_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenVINO by itself leaves an id there when it reports its use, gunicorn a socket."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    with server() as (address, _):
        assert ask(f"{address}/v1/predict", {"text": "A fine film."}).status == 200
        assert list(tmp_path.iterdir()) == []


def test_a_changed_bundle_stops_the_server_before_it_starts(tmp_path: Path) -> None:
    for path in bundles.DEFAULT.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    card = tmp_path / "MODEL_CARD.md"
    card.write_text(card.read_text() + "!")
    command = [sys.executable, "-m", "reelsense", "serve", "--port", "0", "--model", str(tmp_path)]
    found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603
    assert found.returncode == 1
    assert found.stdout == ""
    assert found.stderr.startswith("reelsense: ")
    assert "MODEL_CARD.md" in found.stderr
    assert found.stderr.count("\n") == 1


def test_a_taken_port_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ReelsenseError, match=f"port {port}: .*another with --port"):
            run("127.0.0.1", port)


def test_host_and_port_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[object] = []
    monkeypatch.setattr("reelsense.server.run.run", lambda *given: found.extend(given))
    monkeypatch.setenv("HOST", "0.0.0.0")  # noqa: S104
    monkeypatch.setenv("PORT", "5051")
    from click.testing import CliRunner

    from reelsense.cli import cli

    assert CliRunner().invoke(cli, ["serve"]).exit_code == 0
    assert CliRunner().invoke(cli, ["serve", "--port", "5052"]).exit_code == 0
    assert found == ["0.0.0.0", 5051, None, "0.0.0.0", 5052, None]  # noqa: S104
