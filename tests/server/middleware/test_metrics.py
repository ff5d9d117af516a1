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
from tests.server.conftest import BundleSource, gated, wait_until_ready
from tests.waiting import wait_until


class Samples:
    """The samples of /metrics, by name and labels."""

    def __init__(self, text: str) -> None:
        self.samples = [
            (sample.name, sample.labels, sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        ]

    def __call__(self, name: str, /, **labels: str) -> float:
        """Return the sum of all samples with this name and these labels."""
        return sum(
            value
            for sample_name, sample_labels, value in self.samples
            if sample_name == f"reelsense_{name}" and labels.items() <= sample_labels.items()
        )

    def labels(self, name: str, label: str) -> set[str]:
        """Return the values of a label."""
        return {
            sample_labels[label]
            for sample_name, sample_labels, _ in self.samples
            if sample_name == f"reelsense_{name}"
        }


def read_samples(client: FlaskClient) -> Samples:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.content_type == "text/plain; version=0.0.4; charset=utf-8"
    return Samples(answer.text)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FlaskClient]:
    """Returns a client of a server that builds its classifier from a bundle in memory."""

    def engine(*_: object, **__: object) -> SimpleNamespace:
        return SimpleNamespace(
            throughput_networks=[tiny.count_moods],
            tokens_per_batch=4096,
            vector_size=0,
            latency_network=tiny.count_moods,
        )

    monkeypatch.setattr("reelsense.inference.classifier.load_engine", engine)

    def make(**values: int) -> FlaskClient:
        settings = Settings.model_validate(values)
        client = create_app(settings, BundleSource(tiny.bundle(), settings)).test_client()
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
    samples = read_samples(client)
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
        assert samples("requests_total", route=route, method=method, status=status) == times
    assert samples("requests_total", route="/v1/predict") == 4
    assert samples("request_duration_seconds_count", route="/v1/predict") == 4
    assert 0 < samples("request_duration_seconds_sum", route="/v1/predict") < 4
    assert read_samples(client)("requests_total", route="/metrics") == 1


def test_unknown_routes_and_methods_add_no_labels(client: FlaskClient) -> None:
    client.get("/nothing")
    client.open("/v1/predict", method="BREW")
    before = read_samples(client)
    for n in range(20):
        client.get(f"/nothing/{n}?sentence={n}")
        client.open(f"/static/{n}", method=f"BREW{n}")
        client.open("/v1/predict", method=f"BREW{n}")
    after = read_samples(client)
    for label in ("route", "method", "status"):
        assert after.labels("requests_total", label) == before.labels("requests_total", label) | {
            {"route": "/metrics", "method": "GET", "status": "200"}[label]
        }
    assert after("requests_total", route="none", status="404") == 21
    assert after("requests_total", route="none", method="other", status="405") == 41


def test_malformed_requests_are_counted(client: FlaskClient, app: Flask) -> None:
    for _ in range(2):
        malformed_request_response(app, HTTPStatus.REQUEST_TIMEOUT)
    assert read_samples(client)("requests_total", route="none", method="other", status="408") == 2


def test_durations_are_recorded_by_phase(client: FlaskClient) -> None:
    samples = read_samples(client)
    assert samples.labels("phase_duration_seconds_count", "phase") == {
        "queue",
        "tokenize",
        "network",
    }
    client.post("/v1/predict", json={"text": "good"})
    client.post("/v1/predict", json={"texts": ["good", "bad"]})
    client.post("/v1/predict", json={"text": 7})
    samples = read_samples(client)
    for phase in ("queue", "tokenize", "network"):
        assert samples("phase_duration_seconds_count", phase=phase) == 2
    assert samples("phase_duration_seconds_sum", phase="network") > 0
    total = samples("request_duration_seconds_sum", route="/v1/predict")
    assert samples("phase_duration_seconds_sum") < total


def test_batches_are_counted_by_windows_and_tokens(small: Callable[..., FlaskClient]) -> None:
    client = small()
    before = read_samples(client)
    client.post("/v1/predict", json={"text": "a good film"})
    client.post("/v1/predict", json={"text": "good " * 30})
    after = read_samples(client)

    def more(name: str, /, **labels: str) -> float:
        return after(name, **labels) - before(name, **labels)

    # 30 tokens are three windows of at most 16; each has [CLS] and [SEP] around it.
    assert more("batch_windows_count") == 2
    assert more("batch_windows_sum") == 1 + 3
    assert more("batch_windows_bucket", le="1.0") == 1
    assert more("batch_windows_bucket", le="4.0") == 2
    assert more("tokens_total") == (3 + 2) + (30 + 3 * 2)


def test_cache_hits_and_misses_are_counted(small: Callable[..., FlaskClient]) -> None:
    client = small(cache_size=10)
    before = read_samples(client)
    assert (before("cache_hits_total"), before("cache_misses_total")) == (0, 0)
    for body in (
        {"text": "a good film"},
        {"text": "a good film"},
        {"texts": ["a good film", "a bad film", "a bad film"]},
    ):
        assert client.post("/v1/predict", json=body).status_code == 200
    samples = read_samples(client)
    assert (samples("cache_hits_total"), samples("cache_misses_total")) == (3, 2)
    assert samples("tokens_total") - before("tokens_total") == 2 * 5


def test_disabled_cache_counts_misses_only(small: Callable[..., FlaskClient]) -> None:
    client = small(cache_size=0)
    for _ in range(3):
        client.post("/v1/predict", json={"text": "good"})
    samples = read_samples(client)
    assert (samples("cache_hits_total"), samples("cache_misses_total")) == (0, 3)


def test_rejected_text_is_no_cache_miss(small: Callable[..., FlaskClient]) -> None:
    client = small(cache_size=10)
    client.post("/v1/predict", json={"texts": ["good", " "]})
    samples = read_samples(client)
    assert (samples("cache_hits_total"), samples("cache_misses_total")) == (0, 1)


def test_predictions_are_counted_by_label_verdict_and_confidence() -> None:
    client = create_app(model=tiny.cautious_classifier()).test_client()
    wait_until_ready(client)
    texts = ["a good film", "a good, good film", "bad, bad, bad", "a film", " "]
    assert client.post("/v1/predict", json={"texts": texts}).status_code == 200
    client.post("/predict", json={"inputs": "bad, bad, bad"})
    samples = read_samples(client)
    for label, verdict, times in (
        ("positive", "unsure", 1),
        ("positive", "positive", 1),
        ("negative", "negative", 2),
    ):
        assert samples("predictions_total", label=label, verdict=verdict) == times
    assert samples("predictions_total", verdict="unsure") == 2
    assert samples("confidence_count") == 5
    # 50 %, 88 %, 98.2 % and twice 99.8 %
    for bound, times in (("0.5", 1), ("0.8", 1), ("0.9", 2), ("0.98", 2), ("0.99", 3), ("1.0", 5)):
        assert samples("confidence_bucket", le=bound) == times


def test_shed_requests_are_counted_by_reason(client: FlaskClient, app: Flask) -> None:
    samples = read_samples(client)
    assert samples.labels("shed_total", "reason") == {"queue", "rate", "jobs"}
    assert samples("shed_total") == samples("expired_total") == samples("abandoned_total") == 0
    gone = {"waitress.client_disconnected": lambda: True}
    answer = client.post("/v1/predict", json={"text": "good"}, environ_overrides=gone)
    assert answer.status_code == 499
    app.extensions["reelsense"].load_shedder.enter(10**9)
    for _ in range(2):
        assert client.post("/v1/predict", json={"text": "good"}).status_code == 429
    samples = read_samples(client)
    assert samples("shed_total", reason="queue") == 2
    assert samples("shed_total", reason="rate") == 0
    assert samples("abandoned_total") == 1


def test_rate_limited_requests_are_counted() -> None:
    client = create_app(Settings(rate_limit="1/day"), tiny.classifier()).test_client()
    wait_until_ready(client)
    statuses = [client.get("/v1/info").status_code for _ in range(3)]
    assert statuses == [200, 429, 429]
    # /metrics is rate limited, too
    app = client.application
    samples = Samples(app.extensions["reelsense"].metrics.render().decode())
    assert samples("shed_total", reason="rate") == 2
    assert samples("shed_total", reason="queue") == 0
    assert samples("requests_total", route="/v1/info", status="429") == 2
    assert samples("request_duration_seconds_count", route="/v1/info") == 1


def test_requests_in_flight_and_expired_requests_are_counted() -> None:
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
    samples = read_samples(client)
    assert (samples("requests_in_flight"), samples("request_bytes_in_flight")) == (1, len(body))
    assert samples("expired_total") == 0
    thread.join(20)
    gate.open.set()
    assert statuses == [504]
    samples = read_samples(client)
    assert (samples("requests_in_flight"), samples("request_bytes_in_flight")) == (0, 0)
    assert samples("expired_total") == 1
    assert samples("phase_duration_seconds_count", phase="network") == 0


def test_model_info_names_current_model(client: FlaskClient) -> None:
    samples = read_samples(client)
    assert samples("model_info", name="tiny", version="0") == 1
    assert (samples("workers", state="ready"), samples("workers", state="waiting")) == (1, 0)
    assert samples("model_loads_total", outcome="served") == 1
    assert samples.labels("model_loads_total", "outcome") == {"served", "rejected"}


def test_model_info_drops_previous_model() -> None:
    metrics = ServerMetrics(["default"])
    for version in ("1", "2", "3"):
        bundle = tiny.bundle()
        manifest = replace(bundle.manifest, version=version)
        metrics.record_load(
            "default", Classifier(replace(bundle, manifest=manifest), network=tiny.count_moods)
        )
        metrics.record_load("default", None)
    samples = Samples(metrics.render().decode())
    assert [samples("model_info", version=version) for version in ("1", "2", "3")] == [0, 0, 1]
    assert samples("model_loads_total", outcome="served") == 3
    assert samples("model_loads_total", outcome="rejected") == 3


def test_failed_model_load_is_counted(tmp_path: Path) -> None:
    app = create_app(Settings(model=str(tmp_path)))
    client = app.test_client()
    assert client.post("/v1/predict", json={"text": "good"}).status_code == 503
    app.extensions["reelsense"].models.close()
    samples = read_samples(client)
    assert samples("model_loads_total", outcome="rejected") == 1
    assert samples("model_info") == 0
    assert (samples("workers", state="ready"), samples("workers", state="waiting")) == (0, 1)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_processes_share_metrics_after_their_end() -> None:
    with server("--workers", "2") as (address, supervisor):

        def sums() -> set[tuple[float, float]]:
            scrapes = [scrape(address) for _ in range(8)]
            return {
                (samples("requests_total", route="/v1/predict"), samples("predictions_total"))
                for samples in scrapes
            }

        def loaded(times: int) -> bool:
            return scrape(address)("model_loads_total", outcome="served") == times

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
        samples = scrape(address)
        assert samples("model_info") == 1
        assert samples("requests_in_flight") == samples("request_bytes_in_flight") == 0
        long = {"texts": [f"{n} fine films, and long ones. " * 200 for n in range(256)]}
        thread = threading.Thread(target=_ask_in_vain, args=(f"{address}/v1/predict", long))
        thread.start()
        wait_until(lambda: scrape(address)("requests_in_flight") == 1)
        for process in children(supervisor):  # their requests are no longer in flight
            kill(process, signal.SIGKILL)
        wait_until(lambda: loaded(6))
        thread.join(20)
        samples = scrape(address)
        assert samples("requests_in_flight") == samples("request_bytes_in_flight") == 0
        assert samples("model_info") == 1
        assert (samples("workers", state="ready"), samples("workers", state="waiting")) == (2, 0)


def test_empty_metrics_file_of_new_process_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = ServerMetrics(["default"])
    monkeypatch.setenv(FOLDER, str(tmp_path))
    assert metrics.render() == b""
    (tmp_path / "counter_1.db").touch()
    assert metrics.render() == b""


def _ask_in_vain(url: str, body: object) -> None:
    with suppress(OSError):
        ask(url, body)


def scrape(address: str) -> Samples:
    """Return the samples of a server, over a new connection."""
    with urllib.request.urlopen(f"{address}/metrics", timeout=20) as answer:  # noqa: S310
        return Samples(answer.read().decode())


def children(process: int) -> set[int]:
    return set(map(int, Path(f"/proc/{process}/task/{process}/children").read_text().split()))
