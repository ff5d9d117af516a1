"""Jobs whose model is replaced while the server runs, or missing after a restart."""

from __future__ import annotations

import gc
import logging
import time
import weakref
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from reelsense.server.jobs_worker import JobsWorker
from tests import tiny
from tests.server.conftest import ChangingSource, Make
from tests.server.jobs import MANY, Slow, ended, model, send
from tests.server.middleware.test_metrics import read_samples
from tests.waiting import wait_until

SWAPPED: dict[str, Any] = {"name": "other", "version": "1", "labels": ("bad", "good")}


def worker_of(app: Flask) -> JobsWorker:
    worker: JobsWorker = app.extensions["reelsense"].jobs_worker
    return worker


def swap(source: ChangingSource, client: FlaskClient, **fields: Any) -> None:
    source.classifier = model(**fields)
    wait_until(lambda: client.get("/readyz").get_json()["model"] == version_of(source))


def version_of(source: ChangingSource) -> dict[str, str]:
    manifest = source.classifier.manifest
    return {"name": manifest.name, "version": manifest.version}


def result(client: FlaskClient, job_id: str) -> list[str]:
    """Return the labels in the result."""
    lines = client.get(f"/v1/jobs/{job_id}/result").text.splitlines()
    assert [line.split(",")[0] for line in lines] == MANY.splitlines()
    return [line.split(",")[1] for line in lines[1:]]


EXPECTED = ["positive" if n % 3 else "negative" for n in range(300)]


@pytest.mark.parametrize("fields", [SWAPPED, {"version": "1"}, {"name": "other"}])
def test_job_ends_with_model_it_began_with(
    make: Make, caplog: pytest.LogCaptureFixture, fields: dict[str, Any]
) -> None:
    caplog.set_level(logging.INFO)
    slow = Slow()
    source = ChangingSource(slow.classifier)
    client = make(source, allow_label_change=True).test_client()
    slow.gate.open.clear()
    begun = send(client, MANY).get_json()["id"]
    waiting = send(client, MANY).get_json()["id"]
    wait_until(lambda: client.get(f"/v1/jobs/{begun}").get_json()["version"] == "0")
    swap(source, client, **fields)
    slow.gate.open.set()

    job = ended(client, begun)
    assert (job["state"], job["model"], job["version"]) == ("done", "tiny", "0")
    assert job["labels"] == ["negative", "positive"]
    assert job["verdicts"] == {"positive": 200, "negative": 100}
    assert result(client, begun) == EXPECTED
    # A job that had not begun needs the name of its model only.
    version = fields["version"] if "name" not in fields else "0"
    assert ended(client, waiting)["version"] == version
    assert result(client, waiting) == EXPECTED

    wait_until(lambda: "released model tiny 0: its jobs have ended" in caplog.text)
    assert caplog.text.count("keeping model tiny 0 in memory until its jobs have ended") == 1
    following = send(client, MANY).get_json()["id"]
    assert ended(client, following)["model"] == source.classifier.manifest.name


def test_replaced_model_without_jobs_is_freed(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    slow = Slow()
    source = ChangingSource(slow.classifier)
    client = make(source).test_client()
    slow.gate.open.clear()
    job_id = send(client, MANY).get_json()["id"]
    wait_until(lambda: client.get(f"/v1/jobs/{job_id}").get_json()["version"] == "0")
    old = weakref.ref(slow.classifier)
    swap(source, client, version="1")
    slow.gate.open.set()
    del slow
    ended(client, job_id)

    def is_freed() -> bool:
        gc.collect()
        return old() is None

    wait_until(is_freed, 30)
    old = weakref.ref(source.classifier)
    swap(source, client, version="2")
    wait_until(is_freed, 30)
    assert caplog.text.count("released model") == 1  # the second was not kept


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up a job after half a second."""
    monkeypatch.setattr("reelsense.server.jobs_worker._LEASE", 0.3)
    monkeypatch.setattr("reelsense.server.jobs_worker._GIVE_UP_AFTER", 0.5)


@pytest.fixture
def begun(make: Make, monkeypatch: pytest.MonkeyPatch) -> str:
    """The id of a job that has begun, on a server that has stopped."""
    monkeypatch.setattr("reelsense.server.jobs_worker._BATCH_ROWS", 10)
    app = make(tiny.classifier())
    job_id: str = send(app.test_client(), MANY).get_json()["id"]
    worker = worker_of(app)
    wait_until(lambda: worker.jobs.job(job_id).done > 0)
    worker.close()
    assert 0 < worker.jobs.job(job_id).done < 300
    return job_id


@pytest.mark.parametrize("fields", [SWAPPED, {"version": "1"}])
def test_job_waits_for_its_model(make: Make, begun: str, fields: dict[str, Any]) -> None:
    client = make(model(**fields)).test_client()
    job = client.get(f"/v1/jobs/{begun}").get_json()
    waiting = ("waiting", "tiny 0", None)
    assert (job["state"], job["waiting_for"], job["seconds_left"]) == waiting
    page = client.get(f"/jobs/{begun}").text
    assert "Waiting for model tiny 0" in page
    assert " left<" not in page
    make(tiny.classifier())
    assert ended(client, begun)["verdicts"] == {"positive": 200, "negative": 100}
    assert client.get(f"/v1/jobs/{begun}").get_json()["waiting_for"] is None


@pytest.mark.usefixtures("quick")
def test_job_starts_again_if_replaced_model_stops_working(make: Make) -> None:
    slow = Slow()
    source = ChangingSource(slow.classifier)
    app = make(source)
    client = app.test_client()
    worker_of(app).keeps_replaced_models = False
    slow.gate.open.clear()
    job_id = send(client, MANY).get_json()["id"]
    wait_until(lambda: client.get(f"/v1/jobs/{job_id}").get_json()["version"] == "0")
    swap(source, client, version="1")
    slow.gate.open.set()
    job = ended(client, job_id)
    assert (job["state"], job["version"], job["done"]) == ("done", "1", 300)


@pytest.mark.usefixtures("quick")
def test_job_starts_again_with_new_version(
    make: Make, begun: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    client = make(model(lambda ids, mask: -tiny.count_moods(ids, mask), version="1")).test_client()
    job = ended(client, begun)
    assert (job["state"], job["version"], job["done"]) == ("done", "1", 300)
    assert job["verdicts"] == {"negative": 200, "positive": 100}
    assert result(client, begun) == [
        "negative" if label == "positive" else "positive" for label in EXPECTED
    ]
    assert "starts again with version 1: no server has version 0 any more" in caplog.text


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "fields",
    [SWAPPED, {"name": "other"}, {"version": "1", "labels": ("positive", "negative")}],
)
def test_job_fails_without_compatible_model(
    make: Make, begun: str, caplog: pytest.LogCaptureFixture, fields: dict[str, Any]
) -> None:
    client = make(model(**fields)).test_client()
    job = ended(client, begun)
    assert (job["state"], job["error_code"]) == ("failed", "model-gone")
    assert "tiny 0 with the labels negative, positive" in job["error"]
    assert "upload the file again" in job["error"]
    assert f"job {begun[:6]} failed: no server has the model tiny 0" in caplog.text
    wait_until(lambda: read_samples(client)("jobs_total", state="failed") == 1)
    assert job["verdicts"].keys() <= {"negative", "positive"}


@pytest.mark.usefixtures("quick")
def test_job_that_has_not_begun_fails_without_model_of_its_name(make: Make) -> None:
    app = make(start=False)
    job_id = send(app.test_client()).get_json()["id"]
    client = make(model(name="other")).test_client()
    job = ended(client, job_id)
    assert (job["state"], job["error_code"], job["version"]) == ("failed", "model-gone", None)


@pytest.mark.usefixtures("quick")
def test_job_of_other_server_is_not_given_up(make: Make) -> None:
    slow = Slow()
    client = make(slow.classifier).test_client()
    slow.gate.open.clear()
    job_ids = [send(client, MANY).get_json()["id"] for _ in range(2)]  # the second waits
    make(model(name="other"))
    time.sleep(2)  # more than a job waits
    slow.gate.open.set()
    assert [ended(client, job_id)["state"] for job_id in job_ids] == ["done", "done"]
