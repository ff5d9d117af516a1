import signal
import sys
import threading
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from os import kill
from pathlib import Path
from types import SimpleNamespace

import pytest
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from reelsense.inference.classifier import Classifier
from reelsense.server.app import create_app
from reelsense.server.middleware.metrics import FOLDER, ServerMetrics
from reelsense.server.middleware.problems import malformed_request_response
from reelsense.server.settings import Settings
from tests import tiny
from tests.processes import ask, server
from tests.server.conftest import gated, wait_until_ready
from tests.waiting import wait_until


class Counted:
    """What /metrics says, by name and labels."""

    def __init__(self, text: str) -> None:
        self.samples = [
            (sample.name, sample.labels, sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        ]

    def __call__(self, name: str, /, **labels: str) -> float:
        """The sum of all that is called that and has these labels."""
        found = [
            value
            for each, has, value in self.samples
            if each == f"reelsense_{name}" and labels.items() <= has.items()
        ]
        return sum(found)

    def labels(self, name: str, label: str) -> set[str]:
        """The values that a label has."""
        return {has[label] for each, has, _ in self.samples if each == f"reelsense_{name}"}


def counted(client: FlaskClient) -> Counted:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.content_type == "text/plain; version=0.0.4; charset=utf-8"
    return Counted(answer.text)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FlaskClient]:
    """Makes a client of a server that builds its classifier itself, from a bundle in memory."""

    def engine(*_: object, **__: object) -> SimpleNamespace:
        return SimpleNamespace(
            side_by_side=[tiny.count_moods], tokens_per_batch=4096, whole=tiny.count_moods
        )

    monkeypatch.setattr("reelsense.inference.classifier.load_engine", engine)

    def make(**settings: int) -> FlaskClient:
        client = create_app(Settings(**settings), tiny.bundle()).test_client()  # type: ignore[arg-type]
        wait_until_ready(client)
        return client

    return make


def test_requests_are_counted_by_route_method_and_status(client: FlaskClient) -> None:
    for _ in range(3):
        client.post("/v1/predict", json={"text": "good"})
    client.post("/v1/predict", json={})
    client.get("/predict?sentence=good")
    client.post("/predict", json={"inputs": "good"})
    client.get("/docs/swagger-ui/css/swagger-ui.css").close()
    client.get("/docs/swagger-ui/nothing.css")
    client.head("/v1/info")
    client.get("/v1/predict")
    found = counted(client)
    for route, method, status, times in (
        ("/v1/predict", "POST", "200", 3),
        ("/v1/predict", "POST", "422", 1),
        ("/predict", "GET", "200", 1),
        ("/predict", "POST", "200", 1),
        ("/docs/swagger-ui/<path:name>", "GET", "200", 1),
        ("/docs/swagger-ui/<path:name>", "GET", "404", 1),
        ("/v1/info", "HEAD", "200", 1),
        ("none", "GET", "405", 1),
    ):
        assert found("requests_total", route=route, method=method, status=status) == times
    assert found("requests_total", route="/v1/predict") == 4
    assert found("request_duration_seconds_count", route="/v1/predict") == 4
    assert 0 < found("request_duration_seconds_sum", route="/v1/predict") < 4
    assert counted(client)("requests_total", route="/metrics") == 1


def test_what_nobody_knows_makes_no_new_label(client: FlaskClient) -> None:
    client.get("/nothing")
    client.open("/v1/predict", method="BREW")
    before = counted(client)
    for n in range(20):
        client.get(f"/nothing/{n}?sentence={n}")
        client.open(f"/static/{n}", method=f"BREW{n}")
        client.open("/v1/predict", method=f"BREW{n}")
    after = counted(client)
    for label in ("route", "method", "status"):
        assert after.labels("requests_total", label) == before.labels("requests_total", label) | {
            {"route": "/metrics", "method": "GET", "status": "200"}[label]
        }
    assert after("requests_total", route="none", status="404") == 21
    assert after("requests_total", route="none", method="other", status="405") == 41


def test_what_is_no_request_is_counted_too(client: FlaskClient, app: Flask) -> None:
    for _ in range(2):
        malformed_request_response(app, HTTPStatus.REQUEST_TIMEOUT)
    assert counted(client)("requests_total", route="none", method="other", status="408") == 2


def test_time_is_counted_by_phase(client: FlaskClient) -> None:
    found = counted(client)  # the first is an increase
    assert found.labels("phase_duration_seconds_count", "phase") == {"queue", "tokenize", "network"}
    client.post("/v1/predict", json={"text": "good"})
    client.post("/v1/predict", json={"texts": ["good", "bad"]})
    client.post("/v1/predict", json={"text": 7})
    found = counted(client)
    for phase in ("queue", "tokenize", "network"):
        assert found("phase_duration_seconds_count", phase=phase) == 2
    assert found("phase_duration_seconds_sum", phase="network") > 0
    total = found("request_duration_seconds_sum", route="/v1/predict")
    assert found("phase_duration_seconds_sum") < total


def test_batches_are_counted_by_windows_and_tokens(small: Callable[..., FlaskClient]) -> None:
    client = small()
    before = counted(client)
    client.post("/v1/predict", json={"text": "a good film"})
    client.post("/v1/predict", json={"text": "good " * 30})
    after = counted(client)

    def more(name: str, /, **labels: str) -> float:
        return after(name, **labels) - before(name, **labels)

    # 30 tokens are three windows of at most 16; each has [CLS] and [SEP] around it.
    assert more("batch_windows_count") == 2
    assert more("batch_windows_sum") == 1 + 3
    assert more("batch_windows_bucket", le="1.0") == 1
    assert more("batch_windows_bucket", le="4.0") == 2
    assert more("tokens_total") == (3 + 2) + (30 + 3 * 2)


def test_texts_are_counted_by_whether_they_were_known(small: Callable[..., FlaskClient]) -> None:
    client = small(cache_size=10)
    before = counted(client)
    assert (before("cache_hits_total"), before("cache_misses_total")) == (0, 0)
    for body in (
        {"text": "a good film"},
        {"text": "a good film"},
        {"texts": ["a good film", "a bad film", "a bad film"]},
    ):
        assert client.post("/v1/predict", json=body).status_code == 200
    found = counted(client)
    assert (found("cache_hits_total"), found("cache_misses_total")) == (3, 2)
    assert found("tokens_total") - before("tokens_total") == 2 * 5


def test_without_a_cache_nothing_is_known(small: Callable[..., FlaskClient]) -> None:
    client = small(cache_size=0)
    for _ in range(3):
        client.post("/v1/predict", json={"text": "good"})
    found = counted(client)
    assert (found("cache_hits_total"), found("cache_misses_total")) == (0, 3)


def test_what_is_not_computed_is_no_miss(small: Callable[..., FlaskClient]) -> None:
    client = small(cache_size=10)
    client.post("/v1/predict", json={"texts": ["good", " "]})
    found = counted(client)
    assert (found("cache_hits_total"), found("cache_misses_total")) == (0, 1)


def test_answers_are_counted_by_label_verdict_and_confidence() -> None:
    client = create_app(model=tiny.cautious_classifier()).test_client()
    wait_until_ready(client)
    texts = ["a good film", "a good, good film", "bad, bad, bad", "a film", " "]
    assert client.post("/v1/predict", json={"texts": texts}).status_code == 200
    client.post("/predict", json={"inputs": "bad, bad, bad"})
    found = counted(client)
    for label, verdict, times in (
        ("positive", "unsure", 1),
        ("positive", "positive", 1),
        ("negative", "negative", 2),
    ):
        assert found("predictions_total", label=label, verdict=verdict) == times
    assert found("predictions_total", verdict="unsure") == 2
    assert found("confidence_count") == 5
    # 50 %, 88 %, 98.2 % and twice 99.8 %
    for most, times in (("0.5", 1), ("0.8", 1), ("0.9", 2), ("0.98", 2), ("0.99", 3), ("1.0", 5)):
        assert found("confidence_bucket", le=most) == times


def test_what_is_refused_is_counted_by_reason(client: FlaskClient, app: Flask) -> None:
    found = counted(client)
    assert found.labels("shed_total", "reason") == {"queue", "rate", "jobs"}
    assert found("shed_total") == found("expired_total") == found("abandoned_total") == 0
    gone = {"waitress.client_disconnected": lambda: True}
    answer = client.post("/v1/predict", json={"text": "good"}, environ_overrides=gone)
    assert answer.status_code == 499
    app.extensions["reelsense"].load_shedder.enter(10**9)
    for _ in range(2):
        assert client.post("/v1/predict", json={"text": "good"}).status_code == 429
    found = counted(client)
    assert found("shed_total", reason="queue") == 2
    assert found("shed_total", reason="rate") == 0
    assert found("abandoned_total") == 1


def test_so_is_what_comes_too_often() -> None:
    client = create_app(Settings(rate_limit="1/day"), tiny.classifier()).test_client()
    wait_until_ready(client)
    statuses = [client.get("/v1/info").status_code for _ in range(3)]
    assert statuses == [200, 429, 429]
    # /metrics has no more room in that rate
    app = client.application
    found = Counted(app.extensions["reelsense"].metrics.render().decode())
    assert found("shed_total", reason="rate") == 2
    assert found("shed_total", reason="queue") == 0
    assert found("requests_total", route="/v1/info", status="429") == 2
    assert found("request_duration_seconds_count", route="/v1/info") == 1  # these two took no time


def test_what_is_in_hand_and_what_is_given_up() -> None:
    app, gate = gated(deadline=0.3)
    client = app.test_client()
    body = b'{"text": "good"}'
    statuses = []

    def post() -> None:
        answer = app.test_client().post("/v1/predict", data=body, content_type="application/json")
        statuses.append(answer.status_code)

    thread = threading.Thread(target=post)
    thread.start()
    wait_until(lambda: app.extensions["reelsense"].load_shedder.requests)
    found = counted(client)
    assert (found("requests_in_flight"), found("request_bytes_in_flight")) == (1, len(body))
    assert found("expired_total") == 0
    thread.join(20)
    gate.open.set()
    assert statuses == [504]
    found = counted(client)
    assert (found("requests_in_flight"), found("request_bytes_in_flight")) == (0, 0)
    assert found("expired_total") == 1
    assert found("phase_duration_seconds_count", phase="network") == 0


def test_the_model_that_serves_is_told(client: FlaskClient) -> None:
    found = counted(client)
    assert found("model_info", name="tiny", version="0") == 1
    assert (found("workers", state="ready"), found("workers", state="waiting")) == (1, 0)
    assert found("model_loads_total", outcome="served") == 1
    assert found.labels("model_loads_total", "outcome") == {"served", "refused"}


def test_the_model_that_served_before_is_told_no_more() -> None:
    metrics = ServerMetrics()
    for version in ("1", "2", "3"):
        bundle = tiny.bundle()
        manifest = replace(bundle.manifest, version=version)
        metrics.record_load(
            Classifier(replace(bundle, manifest=manifest), network=tiny.count_moods)
        )
        metrics.record_load(None)
    found = Counted(metrics.render().decode())
    assert [found("model_info", version=version) for version in ("1", "2", "3")] == [0, 0, 1]
    assert found("model_loads_total", outcome="served") == 3
    assert found("model_loads_total", outcome="refused") == 3


def test_a_model_that_cannot_be_loaded_is_counted(tmp_path: Path) -> None:
    app = create_app(Settings(model=str(tmp_path)))
    client = app.test_client()
    assert client.post("/v1/predict", json={"text": "good"}).status_code == 503
    app.extensions["reelsense"].model_holder.close()
    found = counted(client)
    assert found("model_loads_total", outcome="refused") == 1
    assert found("model_info") == 0
    assert (found("workers", state="ready"), found("workers", state="waiting")) == (0, 1)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_processes_count_together_also_those_that_are_gone() -> None:
    with server("--workers", "2") as (address, supervisor):

        def sums() -> set[tuple[float, float]]:
            found = [told(address) for _ in range(8)]
            return {
                (each("requests_total", route="/v1/predict"), each("predictions_total"))
                for each in found
            }

        def loaded(times: int) -> bool:
            return told(address)("model_loads_total", outcome="served") == times

        first = children(supervisor)
        wait_until(lambda: loaded(2))
        for _ in range(40):
            assert ask(f"{address}/v1/predict", {"text": "A fine film."}).status == 200
        assert sums() == {(40, 40)}
        assert len(first) == 2
        for times, process in enumerate(first, 3):  # one of them may have answered all
            kill(process, signal.SIGKILL)
            wait_until(partial(loaded, times))
            assert sums() == {(40, 40)}
        assert children(supervisor).isdisjoint(first)
        for _ in range(10):
            assert ask(f"{address}/v1/predict", {"text": "A fine film."}).status == 200
        assert sums() == {(50, 50)}
        found = told(address)
        assert found("model_info") == 1
        assert found("requests_in_flight") == found("request_bytes_in_flight") == 0
        long = {"texts": [f"{n} fine films, and long ones. " * 200 for n in range(256)]}
        thread = threading.Thread(target=_ask_in_vain, args=(f"{address}/v1/predict", long))
        thread.start()
        wait_until(lambda: told(address)("requests_in_flight") == 1)
        for process in children(supervisor):  # what it had in hand is in nobody's now
            kill(process, signal.SIGKILL)
        wait_until(lambda: loaded(6))
        thread.join(20)
        found = told(address)
        assert found("requests_in_flight") == found("request_bytes_in_flight") == 0
        assert found("model_info") == 1
        assert (found("workers", state="ready"), found("workers", state="waiting")) == (2, 0)


def test_a_process_that_begins_keeps_nobody_from_counting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = ServerMetrics()
    monkeypatch.setenv(FOLDER, str(tmp_path))
    assert metrics.render() == b""
    (tmp_path / "counter_1.db").touch()
    assert metrics.render() == b""


def _ask_in_vain(url: str, body: object) -> None:
    with suppress(OSError):
        ask(url, body)


def told(address: str) -> Counted:
    """What /metrics says, over a connection of its own."""
    with urllib.request.urlopen(f"{address}/metrics", timeout=20) as answer:  # noqa: S310
        return Counted(answer.read().decode())


def children(process: int) -> set[int]:
    return set(map(int, Path(f"/proc/{process}/task/{process}/children").read_text().split()))
