"""Jobs over HTTP: upload, progress, results, cancellation and deletion."""

from __future__ import annotations

import http.client
import io
import itertools
import json
import logging
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from flask.testing import FlaskClient
from sqlalchemy import select
from werkzeug.test import TestResponse

from reelsense.errors import NoJobError
from reelsense.inference.classifier import Classifier
from reelsense.jobs.database import Database
from reelsense.jobs.job import Job
from reelsense.jobs.repository import JobRepository
from reelsense.server.middleware.load_shedding import MAX_JOB_REQUESTS
from reelsense.tables.writing import RowWithAdded
from tests import tiny
from tests.scoring import score_file
from tests.server.conftest import Make
from tests.server.jobs import MANY, TABLE, Slow, ended, send
from tests.server.listening import listening
from tests.server.middleware.test_metrics import read_samples
from tests.waiting import wait_until


@pytest.fixture
def client(make: Make) -> FlaskClient:
    return make().test_client()


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


FILES = {
    "quoted.csv": TABLE.encode(),
    "semicolons.csv": b'n;review\n1;good, really\n2;"bad; bad"\n',
    "accents.csv": "label,review\n\u00e9,good \U0001f600\n,bad\n".encode(),
    "in.csv": (
        b'id,review,label,predicted_label\n1,good film,x,y\n2, ,,\n3,"bad, 100%\nfilm",,\n'
        b"4,\xf0\x9f\x98\x80 great,,\n5\n6,f\xfcr,,\n7,awful,a,b,c\n8,\x07,,\n"
    ),
    "in.tsv": "id\treview\tstars\n1\tgood \u2028 film\t3\n2\t\t\n3\tbad 'film'\t\n".encode(),
    "in.txt": "good film\n\nbad, bad \U0001f600 film\r\nna\u00efve\n\x00\n".encode() + b"\xff\n",
    "in.jsonl": b"\n".join(
        [
            b'{"review": "good film", "id": 1, "x": {"a": [1, 2.50, null]}}',
            b'{"review": "bad \\ud800 film", "label": "mine"}',
            b'{"review": "\\ud83d\\ude00 great", "score": 1e400}',
            b'{"review": "a \\u0000 good"}',
            b'{"review": "half',
            b'{"txt": "good"}',
            b'{"review": null}',
            b'{"review": 7, "id": 9007199254740993}',
            b"[1]",
            b'{"review": "f\xfcr"}',
            b'{"z": 1, "review": "awful", "a": 2, "\\udc00": "\\udfff"}',
            b'{"error": "mine", "review": " "}',
        ]
    ),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("classifier", [tiny.star_classifier(), tiny.classifier(("no", "yes"))])
def test_result_equals_output_of_command_line(
    make: Make, tmp_path: Path, classifier: Classifier, name: str
) -> None:
    client = make(classifier).test_client()
    file = tmp_path / name
    file.write_bytes(FILES[name])
    target = tmp_path / f"out{'.csv' if file.suffix == '.txt' else file.suffix}"
    column = "text" if file.suffix == ".txt" else "review"
    score_file(classifier, file, target, column)
    job_id = send(client, FILES[name], name=name, column=column).get_json()["id"]
    ended(client, job_id)
    response = client.get(f"/v1/jobs/{job_id}/result")
    assert response.status_code == 200
    assert response.data == target.read_bytes()
    assert f"{file.stem}-scored{target.suffix}" in response.headers["Content-Disposition"]


def test_interrupted_result_is_incomplete_response(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make()
    client = app.test_client()
    name = send(client, MANY).get_json()["id"]
    ended(client, name)
    complete = JobRepository.results

    def broken(jobs: JobRepository, job: Job) -> Iterator[list[RowWithAdded]]:
        yield from itertools.islice(complete(jobs, job), 2)
        raise NoJobError("the job was deleted while its result was read")

    monkeypatch.setattr(JobRepository, "results", broken)
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
    lines = client.get(f"/v1/jobs/{name}/result?format=jsonl").text.splitlines()
    assert json.loads(lines[0])["verdict"] == "positive"
    assert client.get(f"/v1/jobs/{name}/result?format=.csv").status_code == 200
    json_lines = send(client, '{"review": "good"}\n', name="a.jsonl").get_json()["id"]
    ended(client, json_lines)
    for path in (f"{name}/result?format=xls", f"{json_lines}/result?format=csv"):
        response = client.get(f"/v1/jobs/{path}")
        assert response.status_code == (400 if "xls" in path else 422)
        [error] = response.get_json()["errors"]
        assert (error["pointer"], error["code"]) == ("?format", "wrong-value")


def test_created_job_does_not_wait_for_the_model_of_its_server(make: Make) -> None:
    client = make(start=False).test_client()
    assert send(client, TABLE, name="a.csv").get_json()["waiting_for"] is None


@pytest.mark.parametrize(
    ("query", "body", "status", "detail"),
    [
        ({"column": "text"}, TABLE, 422, "one of 'id', 'review', 'label'"),
        ({}, "", 422, "contains no rows"),
        ({}, "review\n", 422, "contains no rows"),
        ({}, "review,review\na,b\n", 422, "several columns are called 'review'"),
        ({}, "film,id\na,b\n", 422, "no column 'review'"),
        ({"name": "a.xls"}, TABLE, 415, ".xlsx, .txt"),
        ({"name": "a.xlsx"}, TABLE, 422, "not a readable .xlsx file"),
        ({"name": "a.json"}, '{"text": {"0": "good"}}', 422, 'orient="records"'),
        ({}, "PK\3\4\0\n", 422, "not a text file"),
        ({"name": ""}, TABLE, 415, "unknown file format"),
        ({"risk": "2"}, TABLE, 400, "less than 1"),
        ({"risk": "0.1"}, TABLE, 422, "no decision thresholds"),
        ({"rsik": "0.1"}, TABLE, 400, "not a field"),
        ({}, "review" + "," * 100_000, 422, "has 100,001 columns"),
        ({}, "review\n" + "x" * 10_000_001, 422, "line 2 is longer than 10,000,000 characters"),
        ({}, "review\n" + "," * 10_000_001, 422, "line 2 is longer than 10,000,000 characters"),
    ],
)
def test_create_rejects_unusable_files(
    client: FlaskClient, query: dict[str, str], body: str, status: int, detail: str
) -> None:
    answer = send(client, body, **query)
    assert answer.status_code == status
    assert detail in answer.get_json()["detail"]
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
    metric = read_samples(client)
    assert metric("shed_total", reason="jobs") == 1
    assert metric("shed_total", reason="queue") == 0  # more processors would not help


def test_uploads_have_their_own_size_limit(make: Make) -> None:
    client = make(start=False, max_body=1000).test_client()
    assert send(client, "review\n" + "good " * 400).status_code == 202
    assert client.post("/v1/predict", json={"text": "good " * 400}).status_code == 413


def test_jobs_can_be_disabled(make: Make) -> None:
    client = make(max_jobs=0).test_client()
    assert send(client).status_code == 404
    assert client.get("/jobs").status_code == 404
    assert b'href="/jobs"' not in client.get("/").data


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
            "values": {"id": "3", "label": "z"},
        }
    ]
    page = client.get(f"/v1/jobs/{name}/rows?verdict=error").get_json()
    assert [row["error"] for row in page["rows"]] == [
        "'review' is blank",
        "4 fields where the header has 3",
    ]
    wrong = client.get(f"/v1/jobs/{name}/rows?sort=sideways")
    [error] = wrong.get_json()["errors"]
    assert (wrong.status_code, error["pointer"], error["code"]) == (400, "?sort", "wrong-value")


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

    def stored_rows() -> int:
        with database.reading() as connection:
            return len(connection.exec_driver_sql("SELECT * FROM job_rows").all())

    wait_until(lambda: stored_rows() == 0)
    database.close()


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

        with jobs.database.writing() as connection:  # locks the database, as a backup may
            connection.execute(select(1))
            requests = [pool.submit(status, "POST", "/v1/jobs/none/cancel") for _ in range(80)]
            wait_until(lambda: sum(map(Future.done, requests)) == 80 - MAX_JOB_REQUESTS)
            assert {request.result() for request in requests if request.done()} == {429}
            assert status("GET", "/healthz") == 200
            assert status("GET", "/predict?sentence=good") == 200
            assert status("GET", "/jobs/none") == 429
        assert {request.result() for request in requests} == {404, 429}
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
    load_shedder = app.extensions["reelsense"].jobs_load_shedder
    answer = client.get(f"/v1/jobs/{name}/result", buffered=False)
    assert load_shedder.requests == 1
    answer.close()
    assert load_shedder.requests == 0
    client.head(f"/v1/jobs/{name}/result").close()
    assert client.get("/v1/jobs/none").status_code == 404
    assert load_shedder.requests == 0


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
    assert "No matching rows" in client.get(f"/jobs/{name}?verdict=nonsense").text
    assert "4 rows" in client.get(f"/jobs/{name}?sort=nonsense").text


def test_limits_of_columns_and_text_length(client: FlaskClient) -> None:
    wide = ",".join(["review", *map(str, range(1000))]) + "\ngood" + "," * 1000 + "\n"
    assert "has 1,001 columns" in send(client, wide).get_json()["detail"]
    repeated = ",".join(["review", *["x" * 5000] * 2]) + "\n"
    assert len(send(client, repeated).text) < 1000
    name = send(client, "review\n" + "good " * 200_001 + "\ngood\n").get_json()["id"]
    assert ended(client, name)["verdicts"] == {"error": 1, "positive": 1}
    [row] = client.get(f"/v1/jobs/{name}/rows?verdict=error").get_json()["rows"]
    assert row["error"] == "'review' is longer than 1,000,000 characters"


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
    def preview(body: str, **query: str) -> Any:
        parameters = {"name": "a.csv"} | query
        return client.post("/v1/preview", query_string=parameters, data=body).get_json()

    complete = preview(TABLE)
    assert complete["columns"] == ["id", "review", "label"]
    assert complete["suggested"] == "review"
    assert complete["rows"][2] == ["3", 'a bad, "awful" film', "z"]
    cut = preview('n,words\n1,some words\n2,more words\n3,"half of i', cut="true")
    assert [row[1] for row in cut["rows"]] == ["some words", "more words"]
    assert cut["suggested"] == "words"
    assert len(preview("a\n" + "x\n" * 50)["rows"]) == 5
    assert "no rows" in preview("a\n")["detail"]
    assert preview("id;review\n1;a, b\n")["rows"] == [["1", "a, b"]]
    assert preview("id;review\n1;a\n")["dialect"] == "columns separated by semicolons"
    assert "--no-header" in preview("Great film.\nBad film.\n")["warning"]
    assert preview("1;a\n", header="false")["rows"] == [["1", "a"]]
    assert preview("one\ntwo\n", name="a.txt")["columns"] == ["text"]
    assert preview('{"a": 1}\n{"b": "x"}\n', name="a.jsonl")["columns"] == ["a", "b"]


def test_preview_with_encoding(client: FlaskClient) -> None:
    body = ("text\n" + "good\n" * 20 + "caf\u00e9\n" * 3).encode("cp1252")

    def undecoded(body: bytes, **query: str) -> int:
        parameters = {"name": "a.csv"} | query
        response = client.post("/v1/preview", query_string=parameters, data=body)
        rows: int = response.get_json()["undecoded"]
        return rows

    assert undecoded(body) == 3
    assert undecoded(body, encoding="windows-1252") == 0
    assert undecoded("text\ngood\ncaf\u00e9".encode()[:-1], cut="true") == 0


def test_create_with_encoding(client: FlaskClient) -> None:
    body = "review\ngood caf\u00e9\n".encode("utf-16")
    assert send(client, body).get_json()["errors"][0]["code"] == "unusable-file"
    name = send(client, body, encoding="utf-16").get_json()["id"]
    assert ended(client, name)["verdicts"] == {"positive": 1}
    [error] = send(client, body, encoding="klingon").get_json()["errors"]
    assert (error["pointer"], error["code"]) == ("?encoding", "no-such-encoding")


def test_curl_without_binary_data_is_explained(client: FlaskClient) -> None:
    def post(body: str) -> TestResponse:
        # What curl sends with -d and with --data-binary.
        return client.post(
            "/v1/jobs?name=films.txt", data=body, content_type="application/x-www-form-urlencoded"
        )

    answer = post("Great film.Bad film.")
    assert answer.status_code == 422
    assert "--data-binary" in answer.get_json()["detail"]
    assert post("Great film.\nBad film.\n").get_json()["rows"] == 2
    assert post("Great film. " * 2000).get_json()["rows"] == 1


def test_charset_of_the_media_type_is_the_default_encoding(client: FlaskClient) -> None:
    body = "review\ngood caf\u00e9\n".encode("cp1252")
    answer = client.post("/v1/jobs", data=body, content_type="text/csv; charset=windows-1252")
    name = answer.get_json()["id"]
    assert ended(client, name)["verdicts"] == {"positive": 1}
    assert "good caf\u00e9,positive" in client.get(f"/v1/jobs/{name}/result").text


@pytest.mark.parametrize("header", ["v1,v2,,,", "v2,v1,v2"])
def test_result_has_the_header_of_the_file(client: FlaskClient, header: str) -> None:
    row = ",".join(["good film"] * len(header.split(",")))
    job = send(client, f"{header}\n{row}\n", column="2").get_json()
    assert ended(client, job["id"])["state"] == "done"
    result = client.get(f"/v1/jobs/{job['id']}/result").text.splitlines()
    assert result[0].startswith(f"{header},label,")
    assert result[1].startswith(f"{row},positive,")


def test_excel_and_json_files_are_scored(client: FlaskClient) -> None:
    workbook = openpyxl.Workbook()
    workbook.create_sheet("reviews").append(["id", "review"])
    workbook["reviews"].append([1, "a good film"])
    excel = io.BytesIO()
    workbook.save(excel)
    array = json.dumps([{"id": 1, "review": "a good film"}])
    for name, body, expected in (
        ("a.xlsx", excel.getvalue(), "1,a good film,positive"),
        ("a.json", array.encode(), '"review": "a good film", "label": "positive"'),
    ):
        query = {"sheet": "reviews"} if name == "a.xlsx" else {}
        job = send(client, body, name=name, **query).get_json()
        assert ended(client, job["id"])["state"] == "done"
        assert expected in client.get(f"/v1/jobs/{job['id']}/result").text
