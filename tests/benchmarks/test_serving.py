import sys
from dataclasses import replace
from pathlib import Path

import pytest

import serving
from reelsense.datasets.reviews import Review
from rivals import install
from rivals.server import Request, Server
from serving import Benchmark, Plan, Store

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
def benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Benchmark:
    monkeypatch.setattr("load.MIN_ANSWERS", 3)
    monkeypatch.setattr(serving, "_SHORT_SECONDS", 0.1)
    monkeypatch.setattr(install, "DEFAULT_FOLDER", tmp_path)
    reviews = [Review("1", "good film", "positive", 9, "1"), Review("2", "bad", "negative", 1, "2")]
    plan = Plan(
        reviews=reviews, part="test", clients=[1, 2], seconds=0.1, rounds=2, results=tmp_path
    )
    return Benchmark(plan, Store(tmp_path, "settings"))


def test_round_measures_only_what_is_missing(benchmark: Benchmark) -> None:
    benchmark.round([server()], 1)
    results = benchmark.results(server(), ["positive", "positive"])
    assert results.cells["2"][0].reviews_per_s > 1
    assert results.cells["short"][0].answers > 1
    assert (results.answered, results.accuracy, results.agreement) == (2, 1.0, 0.5)
    assert results.reference_accuracy == 0.5
    assert results.mark == "truncated at 512"
    assert not results.failure

    written = {path: path.stat().st_mtime_ns for path in benchmark.plan.results.glob("*.json")}
    next(path for path in written if path.name == "tiny.1.2.json").unlink()
    benchmark.round([server()], 1)
    again = {path: path.stat().st_mtime_ns for path in benchmark.plan.results.glob("*.json")}
    assert {path.name for path in written if again[path] != written[path]} == {"tiny.1.2.json"}


def test_server_that_does_not_start_is_tried_again(benchmark: Benchmark) -> None:
    benchmark.round([server("raise SystemExit('no such model')")], 1)
    broken = server("raise SystemExit('no such model')")
    assert "no such model" in benchmark.results(broken, []).failure
    assert benchmark._is_missing(broken, 1, "start")


def test_store_ignores_results_of_other_settings(tmp_path: Path, benchmark: Benchmark) -> None:
    benchmark.store.write(server(), 1, "1", {"next": 1})
    assert benchmark.store.read(server(), 1, "1")
    assert Store(tmp_path, "others").read(server(), 1, "1") is None
    assert benchmark.store.read(replace(server(), environ={"A": "1"}), 1, "1") is None


def test_even_rounds_run_in_reverse_order(
    benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[str] = []
    monkeypatch.setattr(Benchmark, "_serve", lambda self, server, *_: served.append(server.key))
    servers = [replace(server(), key=key) for key in "ab"]
    benchmark.round(servers, 1)
    benchmark.round(servers, 2)
    assert served == ["a", "b", "b", "a"]


def test_reelsense_request_and_label_follow_its_interface() -> None:
    request = serving.OURS.request('a "film"')
    assert request == Request("/v1/predict", b'{"text": "a \\"film\\""}')
    assert serving.OURS.label(b'{"predictions": [{"label": "positive"}]}') == "positive"
    assert len(serving.SHORT_REVIEW.split()) == 20
