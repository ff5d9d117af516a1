"""The drift of the texts that a server receives."""

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from reelsense.bundle import write_bundle
from reelsense.datasets.reviews import Review
from reelsense.drift.profile import prediction_rows, serialize
from reelsense.evaluation.profile import add_profile
from reelsense.feedback.records import NewFeedback
from reelsense.inference.classifier import Classifier
from reelsense.server import drift
from reelsense.server.app import create_app
from reelsense.server.drift import WINDOW, DriftMonitor, remove_files
from tests import tiny, tiny_network
from tests.cli.test_drift import USUAL
from tests.drift import synthetic
from tests.processes import ask, server
from tests.server.conftest import Make, wait_until_ready
from tests.server.middleware.test_metrics import read_samples
from tests.server.process.test_faults import metrics
from tests.waiting import wait_until


def profiled(version: str = "0") -> Classifier:
    """Return a model that was validated on texts such as USUAL."""
    bundle = tiny.bundle()
    bundle = replace(bundle, manifest=replace(bundle.manifest, version=version))
    classifier = Classifier(bundle, network=tiny.count_moods)
    reviews = [Review(str(n), text, None, None, str(n)) for n, text in enumerate(USUAL)]
    with_profile = add_profile(bundle, classifier, "films", reviews)
    return Classifier(with_profile, network=tiny.count_moods, cache_size=1000)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift, "_PAUSE", 0)
    monkeypatch.setattr(drift, "_MAX_AGE", 0)


@pytest.fixture
def client() -> Iterator[FlaskClient]:
    with create_app(model=profiled()).test_client() as client:
        wait_until_ready(client)
        yield client


def send(client: FlaskClient, *texts: str) -> None:
    assert client.post("/v1/predict", json={"texts": texts}).status_code == 200


def report(client: FlaskClient, texts: int) -> Any:
    """Return the report once it has as many texts."""
    wait_until(lambda: client.get("/v1/drift").get_json()["texts"] == texts)
    return client.get("/v1/drift").get_json()


def test_report_compares_the_latest_texts(client: FlaskClient) -> None:
    assert report(client, 0)["reason"].startswith("Too few texts")
    send(client, *USUAL[:100])
    usual = report(client, 100)
    assert (usual["alert"], usual["reference_texts"]) == ("none", 200)
    assert usual["model"] == {"name": "tiny", "version": "0"}
    assert usual["since"].endswith("Z")
    assert usual["estimated_accuracy"]["drift"] == "none"
    assert usual["measured_accuracy"] is None
    send(client, *["bad awful film"] * 100)
    changed = report(client, 200)
    assert changed["alert"] == "alarm"
    assert "labels: " in changed["reason"]
    assert {measure["name"] for measure in changed["measures"]} >= {"length", "labels", "language"}
    for _ in range(WINDOW // 100):
        send(client, *USUAL[:100])
    wait_until(lambda: client.get("/v1/drift").get_json()["alert"] == "none")
    assert client.get("/v1/drift").get_json()["texts"] == WINDOW


def test_texts_that_are_not_scored_do_not_count(client: FlaskClient) -> None:
    send(client, "good film", " ", "\u200b", "good " * 200_000)
    assert client.post("/v1/explain", json={"text": "good. bad."}).status_code == 200
    send(client, "bad film")
    assert report(client, 2)["texts"] == 2


def test_metrics_have_level_and_measures(client: FlaskClient) -> None:
    before = read_samples(client)
    assert before("drift_texts") == 0
    assert before("drift_level", measure="labels") == 0
    assert np.isnan(before("drift_auc"))
    send(client, *["bad awful film"] * 100)
    report(client, 100)
    after = read_samples(client)
    assert after("drift_texts") == 100
    assert after("drift_level", measure="labels") == 2
    assert after("drift_effect", measure="labels") > 0.25
    assert after("drift_p_value", measure="labels") < 0.0001
    assert after("drift_auc") > 0.9
    assert 0.5 < after("estimated_accuracy", drift="alarm") < 1
    assert np.isnan(after("estimated_accuracy", drift="none"))


def test_model_page_shows_the_drift(client: FlaskClient) -> None:
    empty = client.get("/model").get_data(as_text=True)
    assert "Too few texts: 0 of at least 30" in empty
    assert "estimated accuracy" not in empty
    send(client, *["bad awful film"] * 100)
    report(client, 100)
    page = client.get("/model").get_data(as_text=True)
    assert "Alert level <strong>alarm</strong>" in page
    assert re.search(r'<th scope="row">labels</th>.*chi-square', page)
    assert "unreliable: drift level alarm" in page


def test_measured_accuracy_comes_from_feedback(make: Make) -> None:
    app = make(profiled(), start=False, keep_predictions="all")
    client = app.test_client()
    answers = client.post("/v1/predict", json={"texts": ["good", "bad", "great"]}).get_json()
    writer = app.extensions["reelsense"].feedback_writer
    for answer in answers["predictions"]:
        writer.add(NewFeedback(answer["prediction_id"], None, "positive", source="queue-random"))
    assert client.post("/v1/feedback", json={"text": "bad", "label": "positive"}).status_code == 201
    accuracy = client.get("/v1/drift").get_json()["measured_accuracy"]
    assert (accuracy["count"], accuracy["total"]) == (2, 3)
    assert accuracy["low"] < 2 / 3 < accuracy["high"]
    # The page has it, even if there are too few texts to measure drift.
    assert "measured accuracy on 3 random predictions" in client.get("/model").text


def test_model_without_a_profile_has_no_alert() -> None:
    client = create_app(model=tiny.classifier()).test_client()
    wait_until_ready(client)
    send(client, *["bad"] * 50)
    found = client.get("/v1/drift").get_json()
    assert (found["alert"], found["texts"], found["reference_texts"]) == ("none", 0, 0)
    assert "--profile-only" in found["reason"]


def test_damaged_profile_does_not_stop_the_server(caplog: pytest.LogCaptureFixture) -> None:
    classifier = Classifier(replace(tiny.bundle(), profile="{}"), network=tiny.count_moods)
    client = create_app(model=classifier).test_client()
    wait_until_ready(client)
    send(client, "good")
    assert client.get("/v1/drift").get_json()["reference_texts"] == 0
    assert "reference-profile.json is invalid" in caplog.text


def observe(monitor: DriftMonitor, classifier: Classifier, *texts: str) -> None:
    monitor.offer(classifier.manifest, texts, classifier.predict(texts))


def count(monitor: DriftMonitor) -> int:
    found = monitor.report()
    assert found is not None
    return found.texts


def test_workers_report_on_the_texts_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = profiled()
    monitors = []
    for process in (101, 102):
        monitors.append(DriftMonitor(tmp_path))
        with monkeypatch.context() as patch:
            patch.setattr("os.getpid", lambda process=process: process)
            monitors[-1].use(classifier)
    first, second = monitors
    observe(first, classifier, *USUAL[:40])
    observe(second, classifier, *["bad awful film"] * 80)
    wait_until(lambda: count(first) == count(second) == 120)
    reports = [monitor.report() for monitor in monitors]
    assert reports[0] == reports[1]
    for _ in range(3):
        observe(second, classifier, *USUAL)
    wait_until(lambda: count(first) == WINDOW)
    remove_files(tmp_path, 102)
    assert count(first) == 40


def test_a_new_model_starts_with_no_texts(tmp_path: Path) -> None:
    old, new = profiled("0"), profiled("1")
    monitor = DriftMonitor(tmp_path)
    assert monitor.report() is None
    monitor.use(old)
    observe(monitor, old, *USUAL[:40])
    wait_until(lambda: count(monitor) == 40)
    monitor.use(new)
    assert count(monitor) == 0
    observe(monitor, old, "good film")  # a request that the old model has answered
    observe(monitor, new, "good film", "bad film")
    wait_until(lambda: count(monitor) == 2)
    assert [path.name.split("-")[1] for path in tmp_path.iterdir()] == ["1"]


def test_offer_never_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts beyond the queue are not counted, and a slow report delays no request."""
    monkeypatch.setattr(drift, "_PAUSE", 60)
    classifier, monitor = profiled(), DriftMonitor()
    monitor.use(classifier)
    observe(monitor, classifier, "good film")
    answers = classifier.predict(["good film"] * 5000)
    with monitor._lock:
        offering = Thread(
            target=monitor.offer, args=(classifier.manifest, ["good film"] * 5000, answers)
        )
        offering.start()
        offering.join(5)
        assert not offering.is_alive()
    assert monitor._queue.qsize() == 1000


def test_a_text_that_cannot_be_measured_does_not_stop_the_thread(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail_once(manifest: Any, texts: list[str], predictions: Any) -> Any:
        if texts == ["bad film"]:
            raise ValueError("cannot be measured")
        return prediction_rows(manifest, texts, predictions)

    monkeypatch.setattr(drift, "prediction_rows", fail_once)
    classifier, monitor = profiled(), DriftMonitor()
    monitor.use(classifier)
    observe(monitor, classifier, "bad film", "good film")
    wait_until(lambda: count(monitor) == 1)
    assert "was not measured" in caplog.text


@pytest.mark.slow
def test_server_with_several_workers_reports_one_drift(tmp_path: Path) -> None:
    bundle = tiny.bundle(network=tiny_network.network())
    rows = synthetic.make_rows(300)
    rows["embedding"] = np.nan
    write_bundle(tmp_path / "model", replace(bundle, profile=serialize(rows)))
    with server("--model", str(tmp_path / "model"), "--workers", "2") as (address, _):
        for n in range(60):
            ask(f"{address}/v1/predict", {"text": f"a bad film {n}"})
        wait_until(lambda: ask(f"{address}/v1/drift").body["texts"] == 60)
        time.sleep(1.1)  # the other worker may keep its last report for a second
        for _ in range(10):  # whichever worker answers
            assert ask(f"{address}/v1/drift").body["texts"] == 60
            assert ask(f"{address}/v1/drift").body["alert"] == "alarm"
            assert metrics(address)["reelsense_drift_texts"] == 60
