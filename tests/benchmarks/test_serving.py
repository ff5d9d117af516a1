import sys
from dataclasses import replace
from pathlib import Path

import pytest

import serving
from reelsense.datasets.reviews import Review
from rivals import install
from rivals.server import Request, Server
from serving import Bench, Plan, Store

PROGRAM = """
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"positive" if "good" in self.path else b"negative")
    def log_message(self, *_): pass
HTTPServer(("127.0.0.1", {port}), Handler).serve_forever()
"""


def server(program: str = PROGRAM) -> Server:
    return Server(
        key="tiny",
        name="Tiny",
        environment="tiny",
        command=(sys.executable, "-c", program),
        request=lambda text: Request(f"/{text.split()[0]}"),
        label=bytes.decode,
        settings="none",
    )


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr("load.LEAST_ANSWERS", 3)
    monkeypatch.setattr(serving, "_SHORT_SECONDS", 0.1)
    monkeypatch.setattr(install, "DEFAULT_FOLDER", tmp_path)
    reviews = [Review("1", "good film", "positive", 9, "1"), Review("2", "bad", "negative", 1, "2")]
    plan = Plan(
        reviews=reviews, part="test", clients=[1, 2], seconds=0.1, rounds=2, results=tmp_path
    )
    return Bench(plan, Store(tmp_path, "settings"))


def test_a_server_is_measured_and_what_exists_is_not_run_again(bench: Bench) -> None:
    bench.round([server()], 1)
    found = bench.standing(server(), ["positive", "positive"])
    assert found.cells["2"][0].reviews_per_s > 1
    assert found.cells["short"][0].answers > 1
    assert (found.answered, found.accuracy, found.agreement) == (2, 1.0, 0.5)
    assert found.reference_accuracy == 0.5
    assert found.mark == "cut at 512"
    assert not found.failure

    written = {path: path.stat().st_mtime_ns for path in bench.plan.results.glob("*.json")}
    next(path for path in written if path.name == "tiny.1.2.json").unlink()
    bench.round([server()], 1)
    again = {path: path.stat().st_mtime_ns for path in bench.plan.results.glob("*.json")}
    assert {path.name for path in written if again[path] != written[path]} == {"tiny.1.2.json"}


def test_a_server_that_does_not_start_is_noted_and_tried_again(bench: Bench) -> None:
    bench.round([server("raise SystemExit('no such model')")], 1)
    broken = server("raise SystemExit('no such model')")
    assert "no such model" in bench.standing(broken, []).failure
    assert bench._is_missing(broken, 1, "start")


def test_results_of_other_settings_are_left_aside(tmp_path: Path, bench: Bench) -> None:
    bench.store.write(server(), 1, "1", {"next": 1})
    assert bench.store.read(server(), 1, "1")
    assert Store(tmp_path, "others").read(server(), 1, "1") is None
    assert bench.store.read(replace(server(), environ={"A": "1"}), 1, "1") is None


def test_even_rounds_go_backwards(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(Bench, "_serve", lambda self, server, *_: asked.append(server.key))
    servers = [replace(server(), key=key) for key in "ab"]
    bench.round(servers, 1)
    bench.round(servers, 2)
    assert asked == ["a", "b", "b", "a"]


def test_ours_asks_and_reads_as_its_interface_has_it() -> None:
    request = serving.REELSENSE.request('a "film"')
    assert request == Request("/v1/predict", b'{"text": "a \\"film\\""}')
    assert serving.REELSENSE.label(b'{"predictions": [{"label": "positive"}]}') == "positive"
    assert len(serving.SHORT_REVIEW.split()) == 20
