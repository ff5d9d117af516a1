"""The threads that score jobs."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from flask.testing import FlaskClient

from reelsense.inference.classifier import Classifier
from reelsense.jobs.job import ModelId
from reelsense.server.jobs_worker import JobsWorker
from tests import tiny
from tests.server.conftest import Make
from tests.server.jobs import MANY, Slow, ended, send
from tests.server.middleware.test_metrics import read_samples
from tests.waiting import wait_until


@pytest.fixture
def client(make: Make) -> FlaskClient:
    return make().test_client()


def test_requests_take_priority_over_jobs(make: Make) -> None:
    slow = Slow()
    client = make(slow.classifier).test_client()
    slow.gate.open.clear()
    slow.gate.rows = 0
    name = send(client, MANY).get_json()["id"]
    wait_until(lambda: slow.gate.rows > 0)
    before = slow.gate.rows
    answers: list[int] = []
    asking = threading.Thread(
        target=lambda: answers.append(client.post("/v1/predict", json={"text": "good"}).status_code)
    )
    asking.start()
    slow.gate.open.set()
    asking.join(10)
    assert answers == [200]
    assert before <= 64
    assert ended(client, name)["done"] == 300


def test_job_continues_in_next_process(make: Make) -> None:
    first = Slow()
    app = make(first.classifier)
    name = send(app.test_client(), MANY).get_json()["id"]
    worker: JobsWorker = app.extensions["reelsense"].jobs_worker
    wait_until(lambda: worker.jobs.job(name).done >= 64)
    first.gate.open.clear()
    closing = threading.Thread(target=worker.close)
    closing.start()
    wait_until(lambda: worker._closing.is_set())
    first.gate.open.set()
    closing.join(10)

    second = Slow()
    app = make(second.classifier, start=False)
    client = app.test_client()
    second.gate.rows = 0
    app.extensions["reelsense"].jobs_worker.start()
    job = ended(client, name)
    assert (job["state"], job["done"]) == ("done", 300)
    assert second.gate.rows <= 300 - 64
    lines = client.get(f"/v1/jobs/{name}/result").text.splitlines()
    assert [line.split(",")[0] for line in lines] == MANY.splitlines()
    assert {line.split(",")[-1] for line in lines[1:]} == {""}


def test_jobs_of_other_models_are_not_claimed(make: Make) -> None:
    name = send(make(start=False).test_client()).get_json()["id"]
    other = tiny.bundle()
    object.__setattr__(other.manifest, "name", "other")
    client = make(Classifier(other, network=tiny.count_moods)).test_client()
    following = send(client).get_json()["id"]
    ended(client, following)
    assert client.get(f"/v1/jobs/{name}").get_json()["state"] == "waiting"


def test_network_error_fails_job(make: Make) -> None:
    fails = threading.Event()

    def broken(ids: Any, mask: Any) -> Any:
        if fails.is_set():
            raise ValueError("out of memory")
        return tiny.count_moods(ids, mask)

    client = make(Classifier(tiny.bundle(), network=broken)).test_client()
    fails.set()
    job = ended(client, send(client, MANY).get_json()["id"])
    assert (job["state"], job["error"]) == ("failed", "the network failed: out of memory")
    wait_until(lambda: read_samples(client)("jobs_total", state="failed") == 1)


def test_jobs_and_rows_are_counted(make: Make) -> None:
    app = make(start=False)
    client = app.test_client()
    metric = read_samples(client)
    assert metric.labels("jobs_total", "state") == {"done", "cancelled", "failed"}
    assert metric.labels("job_rows_total", "outcome") == {"scored", "unscored"}
    assert metric("jobs_total") == metric("job_rows_total") == 0
    for path in ("/v1/jobs", "/jobs"):
        name = send(client).get_json()["id"]
        for _ in range(2):  # a job that has been cancelled is not read_samples again
            assert client.post(f"{path}/{name}/cancel").status_code in (200, 303)
    app.extensions["reelsense"].jobs_worker.start()
    name = send(client).get_json()["id"]
    assert ended(client, name)["verdicts"]["error"] == 2
    client.post(f"/v1/jobs/{name}/cancel")
    wait_until(lambda: read_samples(client)("jobs_total", state="done") == 1)
    metric = read_samples(client)
    assert metric("jobs_total", state="cancelled") == 2
    assert metric("jobs_total", state="failed") == 0
    assert metric("job_rows_total", outcome="scored") == 2
    assert metric("job_rows_total", outcome="unscored") == 2


@pytest.mark.parametrize("error", [MemoryError, ValueError("odd"), RecursionError])
def test_worker_survives_failed_job(
    make: Make, monkeypatch: pytest.MonkeyPatch, error: Any
) -> None:
    client = make().test_client()
    with monkeypatch.context() as patch:

        def fail(*_: object, **__: object) -> None:
            raise error

        patch.setattr(Classifier, "predict_each", fail)
        job = ended(client, send(client).get_json()["id"])
        assert job["state"] == "failed"
        assert job["error"]
    assert ended(client, send(client).get_json()["id"])["state"] == "done"


def test_worker_survives_errors_between_jobs(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    app = make(start=False)
    worker: JobsWorker = app.extensions["reelsense"].jobs_worker
    monkeypatch.setattr("reelsense.server.jobs_worker._RETRY_AFTER_ERROR", 0.01)
    with monkeypatch.context() as patch:
        patch.setattr(worker, "_sweep", lambda: 1 / 0)
        worker.start()
        wait_until(lambda: "jobs are paused: division by zero" in caplog.text)
    client = app.test_client()
    assert ended(client, send(client).get_json()["id"])["state"] == "done"


def test_lease_is_renewed_during_long_batch(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reelsense.server.jobs_worker._LEASE", 0.3)
    slow = Slow()
    client = make(slow.classifier).test_client()
    other = make(tiny.classifier()).test_client()
    slow.gate.open.clear()
    slow.gate.rows = 0
    other.application.extensions["reelsense"].jobs_worker.close()
    name = send(client, MANY).get_json()["id"]
    wait_until(lambda: slow.gate.rows > 0)
    time.sleep(1)
    jobs = client.application.extensions["reelsense"].jobs_worker.jobs
    assert jobs.claim("another", [ModelId("tiny", "0")], 10) is None
    slow.gate.open.set()
    assert ended(client, name)["done"] == 300


def test_small_job_does_not_wait_for_large_one(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reelsense.server.jobs_worker._BATCHES_PER_TURN", 1)
    slow = Slow()
    client = make(slow.classifier).test_client()
    slow.gate.open.clear()
    large = send(client, MANY).get_json()["id"]
    small = send(client, "review\ngood\n").get_json()["id"]
    slow.gate.open.set()
    first = ended(client, large)["ended"]
    assert client.get(f"/v1/jobs/{small}").get_json()["ended"] < first
