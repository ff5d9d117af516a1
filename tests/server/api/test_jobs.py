"""Files of texts over HTTP: sent, scored in the background, watched, taken home, deleted."""

from __future__ import annotations

import errno
import http.client
import io
import itertools
import json
import logging
import re
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select
from werkzeug.test import TestResponse

from reelsense.errors import NoJobError
from reelsense.inference.classifier import Classifier
from reelsense.jobs.database import Database
from reelsense.jobs.job import Job
from reelsense.jobs.repository import JobRepository
from reelsense.server.app import create_app
from reelsense.server.jobs_worker import JobsWorker
from reelsense.server.middleware.load_shedding import MAX_JOB_REQUESTS
from reelsense.server.settings import Settings
from reelsense.tables.delimited import Row
from tests import tiny
from tests.scoring import score_file
from tests.server.conftest import Gate, wait_until_ready
from tests.server.listening import listening
from tests.server.middleware.test_metrics import read_samples
from tests.waiting import wait_until

Make = Callable[..., Flask]

TABLE = 'id,review,label\n1,a good film,x\n2,,y\n3,"a bad, ""awful"" film",z\n4,one,two,three\n'


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes applications that work on the same database, in the background too."""
    made: list[JobsWorker] = []

    def make(model: Classifier | None = None, *, start: bool = True, **settings: Any) -> Flask:
        given = {"database": f"sqlite:///{tmp_path / 'jobs.db'}"} | settings
        app = create_app(Settings.model_validate(given), model or tiny.star_classifier())
        wait_until_ready(app.test_client())
        made.append(app.extensions["reelsense"].jobs_worker)
        if start:
            made[-1].start()
        return app

    yield make
    for each in made:
        each.close()


@pytest.fixture
def client(make: Make) -> FlaskClient:
    return make().test_client()


def send(client: FlaskClient, body: str | bytes = TABLE, **query: str) -> TestResponse:
    asked = {"name": "films.csv", "column": "review"} | query
    return client.post("/v1/jobs", query_string=asked, data=body)


def ended(client: FlaskClient, name: str) -> dict[str, Any]:
    def state() -> dict[str, Any]:
        found: dict[str, Any] = client.get(f"/v1/jobs/{name}").get_json()
        return found

    wait_until(lambda: state()["state"] in ("done", "failed"))
    return state()


def test_job_scores_file(client: FlaskClient) -> None:
    answer = send(client)
    assert answer.status_code == 202
    job = answer.get_json()
    assert answer.headers["Location"] == f"/v1/jobs/{job['id']}"
    assert (job["rows"], job["column"], job["name"]) == (4, "review", "films.csv")
    assert job["expires"] is None
    job = ended(client, job["id"])
    assert (job["state"], job["done"], job["version"]) == ("done", 4, "0")
    assert job["verdicts"] == {"positive": 1, "negative": 1, "error": 2}
    assert sum(job["stars"].values()) == 2
    assert job["expires"] > job["ended"]


@pytest.mark.parametrize(
    ("name", "column", "body"),
    [
        ("a.csv", "review", TABLE.encode()),
        ("a.csv", "text", "label,text\n\u00e9,good \U0001f600\n,bad\n".encode()),
        ("a.csv", "text", b"label,text\nx,caf\xe9\ny,good\nz, \n"),
        ("a.csv", "text", b'n;text\n1;good, really\n2;"bad; bad"\n'),
        ("a.tsv", "text", b"text\tn\na good film\t1\n\t2\n"),
        ("a.txt", "text", "\ufeffgood\n\nbad film\n".encode()),
        (
            "a.jsonl",
            "text",
            b'{"text": "good", "score": [1]}\n{"n": 1}\n\n{"text": "half \\ud83d"}\n[]\n'
            b'{"text": 7}\n',
        ),
    ],
)
def test_result_equals_output_of_command_line(
    client: FlaskClient, tmp_path: Path, name: str, column: str, body: bytes
) -> None:
    file = tmp_path / name
    file.write_bytes(body)
    target = tmp_path / f"out{'.csv' if name.endswith('.txt') else file.suffix}"
    score_file(tiny.star_classifier(), file, target, column)
    sent = send(client, body, name=name, column=column).get_json()
    ended(client, sent["id"])
    answer = client.get(f"/v1/jobs/{sent['id']}/result")
    assert answer.status_code == 200
    assert answer.data == target.read_bytes()
    assert f"a-scored{target.suffix}" in answer.headers["Content-Disposition"]


def test_interrupted_result_is_incomplete_response(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make()
    client = app.test_client()
    name = send(client, MANY).get_json()["id"]
    ended(client, name)
    whole = JobRepository.results

    def broken(jobs: JobRepository, job: Job) -> Iterator[tuple[Row, dict[str, object]]]:
        yield from itertools.islice(whole(jobs, job), 200)
        raise NoJobError("the job was deleted while its result was read")

    monkeypatch.setattr(JobRepository, "results", broken)
    monkeypatch.setattr("reelsense.server.api.jobs._CHUNK_SIZE", 100)
    with listening(app) as (port, _):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", f"/v1/jobs/{name}/result")
        answer = connection.getresponse()
        assert answer.status == 200
        with pytest.raises(http.client.IncompleteRead):
            answer.read()
        connection.close()


def test_result_in_other_format(client: FlaskClient) -> None:
    name = send(client).get_json()["id"]
    ended(client, name)
    lines = client.get(f"/v1/jobs/{name}/result?kind=jsonl").text.splitlines()
    assert json.loads(lines[0])["verdict"] == "positive"
    wrong = client.get(f"/v1/jobs/{name}/result?kind=xls")
    assert (wrong.status_code, wrong.get_json()["errors"]) == (
        400,
        [{"pointer": "?kind", "code": "wrong-value", "detail": "should be csv, tsv or jsonl"}],
    )
    assert client.get(f"/v1/jobs/{name}/result?kind=.csv").status_code == 200
    sent = send(client, '{"review": "good"}\n', name="a.jsonl").get_json()
    ended(client, sent["id"])
    refused = client.get(f"/v1/jobs/{sent['id']}/result?kind=csv")
    assert refused.get_json()["errors"][0]["pointer"] == "?kind"


@pytest.mark.parametrize(
    ("query", "body", "status", "said"),
    [
        ({"column": "text"}, TABLE, 422, "columns: 'id', 'review', 'label'"),
        ({}, "", 422, "contains no rows"),
        ({}, "review\n", 422, "contains no rows"),
        ({}, 'review\n"open', 422, "a quote is never closed"),
        ({}, "review,review\na,b\n", 422, "two columns have the same name"),
        ({"name": "a.xlsx"}, TABLE, 415, ".jsonl, .txt; in Excel: Save As, CSV UTF-8"),
        ({}, "PK\3\4\0\n", 422, "this is not text"),
        ({"name": ""}, TABLE, 415, "unknown file format"),
        ({"risk": "2"}, TABLE, 400, "less than 1"),
        ({"risk": "0.1"}, TABLE, 422, "no thresholds"),
        ({"rsik": "0.1"}, TABLE, 400, "not a field"),
        ({}, "review" + "," * 100_000, 422, "line 1 is longer than 100,000 characters"),
        ({}, "review\n" + "," * 10_000_001, 422, "line 2 is longer than 10,000,000 characters"),
    ],
)
def test_create_rejects_unusable_files(
    client: FlaskClient, query: dict[str, str], body: str, status: int, said: str
) -> None:
    answer = send(client, body, **query)
    assert answer.status_code == status
    assert said in answer.get_json()["detail"]
    assert client.application.extensions["reelsense"].jobs_worker.jobs.count() == 0


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/preview"])
def test_create_rejects_forms(client: FlaskClient, path: str) -> None:
    form = {"file": (io.BytesIO(TABLE.encode()), "films.csv")}
    answer = client.post(f"{path}?name=films.csv", data=form)
    assert answer.status_code == 415
    assert "forms are not supported" in answer.get_json()["detail"]
    assert client.application.extensions["reelsense"].jobs_worker.jobs.count() == 0


def test_media_type_determines_format(client: FlaskClient) -> None:
    answer = client.post("/v1/jobs", data="text\ngood\n", content_type="text/csv; charset=utf-8")
    assert answer.get_json()["name"] == "texts.csv"
    assert answer.get_json()["column"] == "text"


def test_file_name_has_no_folder(client: FlaskClient) -> None:
    assert send(client, name="C:\\up\\..\\my films.csv").get_json()["name"] == "my films.csv"


def test_limits_of_rows_bytes_and_jobs(make: Make) -> None:
    client = make(start=False, max_rows=3, max_upload=1000, max_jobs=1).test_client()
    assert "more than 3 rows" in send(client).get_json()["detail"]
    large = send(client, "review\n" + "good " * 400)
    assert (large.status_code, "split files" in large.get_json()["detail"]) == (413, True)
    form = {"file": (io.BytesIO(b"review\n" + b"good " * 400), "a.csv")}
    sent = client.post("/jobs", data=form, headers={"Accept": "text/html"})
    assert (sent.status_code, "at most 1000 bytes" in client.get("/jobs").text) == (413, True)
    assert send(client, "review\na\n").status_code == 202
    answer = send(client, "review\na\n")
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "60")
    found = read_samples(client)
    assert found("shed_total", reason="jobs") == 1
    assert found("shed_total", reason="queue") == 0  # no processor would help


def test_uploads_have_their_own_size_limit(make: Make) -> None:
    client = make(start=False, max_body=1000).test_client()
    assert send(client, "review\n" + "good " * 400).status_code == 202
    assert client.post("/v1/predict", json={"text": "good " * 400}).status_code == 413


def test_jobs_can_be_disabled(make: Make) -> None:
    client = make(max_jobs=0).test_client()
    assert send(client).status_code == 404
    assert client.get("/jobs").status_code == 404
    assert b"Batch" not in client.get("/").data


def test_rows_are_filtered_and_sorted(client: FlaskClient) -> None:
    name = send(client).get_json()["id"]
    ended(client, name)
    answer = client.get(f"/v1/jobs/{name}/rows?sort=positive&limit=1").get_json()
    assert answer["total"] == 4
    assert answer["rows"] == [
        {
            "n": 2,
            "line": 4,
            "text": 'a bad, "awful" film',
            "label": "negative",
            "score": pytest.approx(0.982, abs=0.001),
            "positive": pytest.approx(0.018, abs=0.001),
            "verdict": "negative",
            "stars": pytest.approx(1.2, abs=0.5),
            "error": None,
        }
    ]
    found = client.get(f"/v1/jobs/{name}/rows?verdict=error").get_json()
    assert [each["error"] for each in found["rows"]] == [
        "'review' is blank",
        "4 fields where the first line has 3",
    ]
    wrong = client.get(f"/v1/jobs/{name}/rows?sort=sideways")
    assert wrong.status_code == 400
    assert wrong.get_json()["detail"].endswith(
        "sort: should be n, score, positive, stars or verdict"
    )


def test_unknown_job_is_404(client: FlaskClient) -> None:
    for method, path in [
        ("GET", "/v1/jobs/guessed"),
        ("GET", "/v1/jobs/guessed/result"),
        ("GET", "/v1/jobs/guessed/rows"),
        ("POST", "/v1/jobs/guessed/cancel"),
        ("DELETE", "/v1/jobs/guessed"),
    ]:
        answer = client.open(path, method=method)
        assert (answer.status_code, answer.get_json()["code"]) == (404, "not-found")
    assert client.get("/v1/jobs").status_code == 405


def test_deleted_job_is_erased(client: FlaskClient, tmp_path: Path) -> None:
    name = send(client).get_json()["id"]
    ended(client, name)
    assert client.delete(f"/v1/jobs/{name}").status_code == 204
    assert client.get(f"/v1/jobs/{name}").status_code == 404
    database = Database(f"sqlite:///{tmp_path / 'jobs.db'}")

    def left() -> int:
        with database.reading() as connection:
            return len(connection.exec_driver_sql("SELECT * FROM job_rows").all())

    wait_until(lambda: left() == 0)
    database.close()


def test_recent_page_lists_existing_jobs(
    client: FlaskClient,
) -> None:
    first, second = [send(client, name=name).get_json()["id"] for name in ("a.csv", "<b>.csv")]
    listed = client.get(f"/jobs/recent?id={second}&id=guessed&id={first}").text
    assert listed.index("&lt;b&gt;.csv") < listed.index("a.csv")
    assert listed.count("<li") == 2
    assert client.delete(f"/v1/jobs/{first}").status_code == 204
    assert "a.csv" not in client.get(f"/jobs/recent?id={first}").text
    assert client.get("/jobs/recent").text.strip() == ""


def test_job_page_shows_expiry(make: Make) -> None:
    client = make(job_retention_hours=30).test_client()
    name = send(client).get_json()["id"]
    ended(client, name)
    said = re.search(r"Will be deleted on (.+?)\.", client.get(f"/jobs/{name}").text)
    assert said is not None
    expires = datetime.fromisoformat(client.get(f"/v1/jobs/{name}").get_json()["expires"])
    assert said[1] == f"{expires:%-d %B, %H:%M} UTC"


@pytest.mark.parametrize(
    ("body", "said", "why"),
    [
        ("review,n\n" + ",1\n" * 1200, "None of the 1,200 rows could be scored", "Reason: "),
        ("review,n\n,1\n,2\n3\n", "None of the 3 rows could be scored", "Reason for 2 of them: "),
        ("review,n\n,1\n", "The only row could not be scored", "Reason: "),
    ],
)
def test_job_without_predictions_shows_reason(
    client: FlaskClient, body: str, said: str, why: str
) -> None:
    name = send(client, body).get_json()["id"]
    ended(client, name)
    page = client.get(f"/jobs/{name}").text
    assert f"<strong>{said}</strong>" in page
    assert f"{why}&#39;review&#39; is blank." in page
    assert "Verdicts</h2>" not in page
    assert "Stars</h2>" not in page
    assert "<strong>Done" not in page


def test_job_with_one_scored_row_is_done(client: FlaskClient) -> None:
    name = send(client).get_json()["id"]
    ended(client, name)
    page = client.get(f"/jobs/{name}").text
    assert "<strong>Done</strong>" in page
    assert "2 rows could not be scored" in page
    assert "Verdicts</h2>" in page


def test_form_sets_risk_of_job(make: Make) -> None:
    client = make(tiny.cautious_classifier()).test_client()
    form = {"column": "review", "risk": "0.1", "file": (io.BytesIO(TABLE.encode()), "a.csv")}
    sent = client.post("/jobs", data=form)
    name = str(sent.location).rpartition("/")[2]
    assert ended(client, name)["verdicts"] == {"positive": 1, "negative": 1, "error": 2}
    assert client.get(f"/v1/jobs/{name}").get_json()["risk"] == 0.1
    assert "target error rate 10 %" in client.get(sent.location).text
    assert '<option value="0.1" selected>' in client.get(f"{sent.location}/rows/0").text
    form = {"column": "none", "risk": "0.1", "file": (io.BytesIO(TABLE.encode()), "a.csv")}
    assert '<option value="0.1" selected>' in client.post("/jobs", data=form).text


class Slow:
    """A classifier whose network waits."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.classifier = Classifier(tiny.bundle(), network=self.gate)


MANY = "review\n" + "".join(f"{'good' if n % 3 else 'bad'} film\n" for n in range(300))


def test_cancelled_job_has_partial_result(make: Make) -> None:
    slow = Slow()
    client = make(slow.classifier).test_client()
    slow.gate.open.clear()
    name = send(client, MANY).get_json()["id"]
    wait_until(lambda: client.get(f"/v1/jobs/{name}").get_json()["state"] == "running")
    refused = client.get(f"/v1/jobs/{name}/result")
    assert (refused.status_code, refused.get_json()["code"]) == (409, "not-ended")
    assert client.post(f"/v1/jobs/{name}/cancel").get_json()["state"] == "cancelled"
    slow.gate.open.set()
    assert client.get(f"/v1/jobs/{name}/result").status_code == 200
    assert client.get(f"/v1/jobs/{name}").get_json()["done"] == 0
    following = send(client).get_json()["id"]
    assert ended(client, following)["state"] == "done"


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
    found = ended(client, name)
    assert (found["state"], found["done"]) == ("done", 300)
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
    found = ended(client, send(client, MANY).get_json()["id"])
    assert (found["state"], found["error"]) == ("failed", "the network failed: out of memory")
    wait_until(lambda: read_samples(client)("jobs_total", state="failed") == 1)


def test_jobs_and_rows_are_counted(make: Make) -> None:
    app = make(start=False)
    client = app.test_client()
    found = read_samples(client)
    assert found.labels("jobs_total", "state") == {"done", "cancelled", "failed"}
    assert found.labels("job_rows_total", "outcome") == {"scored", "unscored"}
    assert found("jobs_total") == found("job_rows_total") == 0
    for how in ("/v1/jobs", "/jobs"):
        name = send(client).get_json()["id"]
        for _ in range(2):  # the second time there is nothing left to cancel
            assert client.post(f"{how}/{name}/cancel").status_code in (200, 303)
    app.extensions["reelsense"].jobs_worker.start()
    name = send(client).get_json()["id"]
    assert ended(client, name)["verdicts"]["error"] == 2
    client.post(f"/v1/jobs/{name}/cancel")
    wait_until(lambda: read_samples(client)("jobs_total", state="done") == 1)
    found = read_samples(client)
    assert (found("jobs_total", state="cancelled"), found("jobs_total", state="failed")) == (2, 0)
    assert found("job_rows_total", outcome="scored") == 2
    assert found("job_rows_total", outcome="unscored") == 2


@pytest.mark.parametrize("error", [MemoryError, ValueError("odd"), RecursionError])
def test_worker_survives_failed_job(
    make: Make, monkeypatch: pytest.MonkeyPatch, error: Any
) -> None:
    client = make().test_client()
    with monkeypatch.context() as patch:

        def fail(*_: object, **__: object) -> None:
            raise error

        patch.setattr(Classifier, "predict_each", fail)
        found = ended(client, send(client).get_json()["id"])
        assert found["state"] == "failed"
        assert found["error"]
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
    assert jobs.claim("another", "tiny", 10) is None
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


def test_concurrent_upload_gets_429(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reelsense.server.api.jobs._UPLOAD_WAIT", 0.01)
    app = make(start=False)
    with app.extensions["reelsense"].jobs_worker.receiving:
        answer = send(app.test_client())
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "10")
    assert send(app.test_client()).status_code == 202


def test_job_requests_leave_threads_for_others(make: Make) -> None:
    app = make(start=False, max_concurrent_requests=1)
    jobs = app.extensions["reelsense"].jobs_worker.jobs
    with listening(app) as (port, _), ThreadPoolExecutor(80) as pool:

        def status(method: str, path: str) -> int:
            client = http.client.HTTPConnection("127.0.0.1", port, timeout=40)
            client.request(method, path)
            answer = client.getresponse()
            answer.read()
            client.close()
            return answer.status

        with jobs.database.writing() as connection:  # as another program may for long
            connection.execute(select(1))
            asked = [pool.submit(status, "POST", "/v1/jobs/none/cancel") for _ in range(80)]
            wait_until(lambda: sum(each.done() for each in asked) == 80 - MAX_JOB_REQUESTS)
            assert {each.result() for each in asked if each.done()} == {429}
            assert status("GET", "/healthz") == 200
            assert status("GET", "/predict?sentence=good") == 200
            assert status("GET", "/jobs/none") == 429
        assert {each.result() for each in asked} == {404, 429}
        assert status("GET", "/jobs/none") == 404


def test_result_with_long_rows_is_streamed(make: Make) -> None:
    app = make()
    client = app.test_client()
    long = f"review,more\ngood,{'x' * 100_000}\n"
    name = send(client, long + f"good,{'y' * 100_000}\n" * 200).get_json()["id"]
    ended(client, name)
    answer = client.get(f"/v1/jobs/{name}/result", buffered=False)
    tracemalloc.start()
    size = sum(map(len, answer.response))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    answer.close()
    assert size > 20_000_000
    assert peak < 14_000_000


def test_result_counts_as_in_flight_until_sent(make: Make) -> None:
    app = make()
    client = app.test_client()
    name = send(client).get_json()["id"]
    ended(client, name)
    in_hand = app.extensions["reelsense"].jobs_load_shedder
    answer = client.get(f"/v1/jobs/{name}/result", buffered=False)
    assert in_hand.requests == 1
    answer.close()
    assert in_hand.requests == 0
    client.head(f"/v1/jobs/{name}/result").close()
    assert client.get("/v1/jobs/none").status_code == 404
    assert in_hand.requests == 0


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("a.csv", b"review\n\xff\xfe joy\nA joy.\n"),
        ("a.txt", b"A joy.\xff\xfe\n"),
        (
            "a.jsonl",
            b'{"review": "A \\ud800 joy."}\n{"review": "x", "\\ud800": 1}\n{"\\ud800": 1}\n',
        ),
        ("a.jsonl", b'{"review": "x"}\n{"review": ' + b"[" * 975 + b"]" * 975 + b"}\n"),
    ],
)
def test_lone_surrogates_are_replaced(client: FlaskClient, name: str, body: bytes) -> None:
    assert client.post(f"/v1/preview?name={name}", data=body).status_code == 200
    job = ended(client, send(client, body, name=name).get_json()["id"])
    assert job["state"] == "done"
    for path in (
        f"/v1/jobs/{job['id']}/rows",
        f"/v1/jobs/{job['id']}/result",
        f"/jobs/{job['id']}",
    ):
        assert client.get(path).status_code == 200


def test_unusual_urls(client: FlaskClient) -> None:
    name = send(client).get_json()["id"]
    ended(client, name)
    huge = "9" * 20
    assert client.get(f"/jobs/{name}/rows/{huge}").status_code == 404
    assert "a good film" in client.get(f"/jobs/{name}?page={huge}").text
    assert "a good film" in client.get(f"/jobs/{name}?verdict=positive&page=2").text
    assert client.get(f"/v1/jobs/{name}/rows?offset={huge}").status_code == 400
    assert "4 rows" in client.get(f"/jobs/{name}?verdict=nonsense").text


def test_limits_of_columns_and_text_length(client: FlaskClient) -> None:
    wide = ",".join(["review", *map(str, range(1000))]) + "\ngood\n"
    assert "has 1,001 columns" in send(client, wide).get_json()["detail"]
    twice = ",".join(["review", *["x" * 5000] * 2]) + "\n"
    assert len(send(client, twice).text) < 1000
    name = send(client, "review\n" + "good " * 200_001 + "\ngood\n").get_json()["id"]
    assert ended(client, name)["verdicts"] == {"error": 1, "positive": 1}
    found = client.get(f"/v1/jobs/{name}/rows?verdict=error").get_json()["rows"]
    assert found[0]["error"] == "'review' is longer than 1,000,000 characters"


def test_cross_site_requests_are_blocked(
    make: Make,
) -> None:
    client = make(start=False, cors_origins="https://friend.example").test_client()
    form = {"data": "good", "content_type": "text/plain"}
    for headers in (
        {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "same-site", "Origin": "https://evil.localhost"},
        {"Origin": "https://evil.example"},
    ):
        answer = client.post("/v1/jobs", headers=headers, **form)
        assert (answer.status_code, answer.get_json()["code"]) == (403, "forbidden")
    for headers in (
        {"Sec-Fetch-Site": "cross-site", "Origin": "https://friend.example"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"},
        {"Origin": "http://localhost"},
        {},
    ):
        assert client.post("/v1/jobs", headers=headers, **form).status_code == 202


def test_database_error_is_507_without_path(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    app = make(start=False, database=f"sqlite:///{tmp_path / 'file' / 'jobs.db'}")
    with caplog.at_level(logging.ERROR):
        answer = send(app.test_client())
    assert (answer.status_code, answer.get_json()["code"]) == (507, "storage")
    assert str(tmp_path) not in answer.text
    assert str(tmp_path) in caplog.text
    assert app.test_client().post("/v1/predict", json={"text": "good"}).status_code == 200


def test_log_does_not_contain_job_id(client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        name = send(client).get_json()["id"]
        ended(client, name)
        client.get(f"/jobs/{name}")
        client.get(f"/jobs/{name}/cancel")
        client.put(f"/v1/jobs/{name}")
    assert f"GET /jobs/{name[:6]}... 200" in caplog.text
    assert name not in caplog.text


def test_preview_returns_columns_and_rows(client: FlaskClient) -> None:
    def glance(body: str, **query: str) -> Any:
        asked = {"name": "a.csv"} | query
        return client.post("/v1/preview", query_string=asked, data=body).get_json()

    found = glance(TABLE)
    assert found["columns"] == ["id", "review", "label"]
    assert found["suggested"] == "review"
    assert found["rows"][2] == ["3", 'a bad, "awful" film', "z"]
    cut = glance('n,words\n1,some words\n2,more words\n3,"half of i', cut="true")
    assert [row[1] for row in cut["rows"]] == ["some words"]
    assert cut["suggested"] == "words"
    assert len(glance("a\n" + "x\n" * 50)["rows"]) == 5
    assert "no rows" in glance("a\n")["detail"]
    assert glance("id;review\n1;a, b\n")["rows"] == [["1", "a, b"]]
    assert "never closed" in glance('a\n"')["detail"]
    assert glance("one\ntwo\n", name="a.txt")["columns"] == ["text"]
    assert glance('{"a": 1}\n{"b": "x"}\n', name="a.jsonl")["columns"] == ["a", "b"]


def test_preview_with_encoding(client: FlaskClient) -> None:
    body = ("text\n" + "good\n" * 20 + "caf\u00e9\n" * 3).encode("cp1252")

    def undecoded(body: bytes, **query: str) -> int:
        asked = {"name": "a.csv"} | query
        found: int = client.post("/v1/preview", query_string=asked, data=body).get_json()[
            "undecoded"
        ]
        return found

    assert undecoded(body) == 3
    assert undecoded(body, encoding="windows-1252") == 0
    assert undecoded("text\ngood\ncaf\u00e9".encode()[:-1], cut="true") == 0


def test_create_with_encoding(client: FlaskClient) -> None:
    body = "review\ngood caf\u00e9\n".encode("utf-16")
    assert "name its encoding" in send(client, body).get_json()["detail"]
    name = send(client, body, encoding="utf-16").get_json()["id"]
    assert ended(client, name)["verdicts"] == {"positive": 1}
    [fault] = send(client, body, encoding="klingon").get_json()["errors"]
    assert (fault["pointer"], fault["code"]) == ("?encoding", "no-such-encoding")


def test_form_creates_job(client: FlaskClient) -> None:
    form = {"file": (io.BytesIO(TABLE.encode()), "films.csv"), "column": "review"}
    answer = client.post("/jobs", data=form)
    assert answer.status_code == 303
    page = client.get(answer.location).text
    assert "films.csv" in page
    wrong = client.post("/jobs", data={"file": (io.BytesIO(TABLE.encode()), "films.csv")})
    assert wrong.status_code == 422
    assert "no column &#39;text&#39; in films.csv" in wrong.text
    assert "Choose a file first" in client.post("/jobs", data={}).text


def test_form_without_disk_space_is_507(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(**_: object) -> None:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr("werkzeug.formparser.SpooledTemporaryFile", broken)
    answer = client.post("/jobs", data={"file": (io.BytesIO(TABLE.encode()), "films.csv")})
    assert answer.status_code == 507
    assert "/docs/errors#storage" in answer.text


def test_job_page_filters_sorts_and_searches(
    client: FlaskClient,
) -> None:
    name = send(client).get_json()["id"]
    ended(client, name)
    page = client.get(f"/jobs/{name}?verdict=negative&sort=stars&descending=1").text
    assert "a bad, &#34;awful&#34; film" in page
    assert "a good film" not in page
    assert "1 row<" in page
    assert "No matching rows" in client.get(f"/jobs/{name}?search=zzz").text
    assert "is blank" in client.get(f"/jobs/{name}?verdict=error").text
    assert client.get(f"/jobs/{name}?sort=nonsense&page=x").status_code == 200
    text = client.get(f"/jobs/{name}/rows/0").text
    assert "\na good film</textarea>" in text
    assert client.get(f"/jobs/{name}/rows/9").status_code == 404
    assert client.post(f"/jobs/{name}/delete").status_code == 303
    gone = client.get(f"/jobs/{name}", headers={"Accept": "text/html"})
    assert gone.status_code == 404
    assert "No such job" in gone.text


def test_markup_in_file_is_escaped(client: FlaskClient) -> None:
    evil = "<script>alert(1)</script>"
    name = send(client, f"review,{evil}\n{evil} good,x\n", name=f"{evil}.csv").get_json()["id"]
    ended(client, name)
    assert evil not in client.get(f"/jobs/{name}").text
