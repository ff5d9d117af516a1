"""Attacks with jobs: small uploads that fill the disk, and keys that occupy all slots."""

from __future__ import annotations

import gzip
import io
import json
import shutil
from collections import namedtuple
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from reelsense.server.state import state_of
from tests.server.conftest import Make
from tests.server.secured import KEYS, SAME_ORIGIN, SHOP, bearer, line
from tests.waiting import wait_until

pytestmark = pytest.mark.security

OTHER = "rs_" + "other" * 8
TABLE = b"text\ngood\n"
FORM = "application/x-www-form-urlencoded"


def send(client: FlaskClient, body: bytes, name: str = "a.csv", **query: str) -> TestResponse:
    return client.post("/v1/jobs", query_string={"name": name, **query}, data=body)


def database_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("jobs.db*"))


def test_column_names_are_stored_once(make: Make, tmp_path: Path) -> None:
    """99 kB with long column names once needed 209 MB."""
    client = make(start=False).test_client()
    names = ",".join(f"column-{n}-{'x' * 300}" for n in range(20))
    body = f"text,{names}\n".encode() + (b"good" + b"," * 20 + b"\n") * 4000
    assert send(client, body).status_code == 202
    assert database_bytes(tmp_path) < 20 * len(body)


@pytest.mark.parametrize(("name", "delimiter"), [("a.csv", ","), ("a.tsv", "\t")])
def test_rows_that_expand_are_rejected(
    make: Make, tmp_path: Path, name: str, delimiter: str
) -> None:
    client = make(start=False).test_client()
    full = f"{delimiter * 900}\n"  # the dialect is detected from the first rows
    body = (
        f"text{full.replace(delimiter, f'{delimiter}c')}" + full * 400 + "a\n" * 20_000
    ).encode()
    answer = send(client, body, name)
    assert answer.status_code == 422
    assert "many times its size" in answer.get_json()["detail"]
    assert state_of(client.application).jobs_worker.jobs.count() == 0
    assert database_bytes(tmp_path) < 20_000_000


def test_errors_of_rows_are_short(make: Make, tmp_path: Path) -> None:
    client = make().test_client()
    long_name = "x" * 1000
    assert send(client, b'{"a": 1}\n', "a.jsonl", column=long_name + "x").status_code == 400
    job = send(client, b'{"a": 1}\n' * 500, "a.jsonl", column=long_name).get_json()["id"]
    wait_until(lambda: client.get(f"/v1/jobs/{job}").get_json()["state"] == "done")
    rows = client.get(f"/v1/jobs/{job}/result?format=jsonl").text.splitlines()
    assert len(rows) == 500
    assert max(len(json.loads(row)["error"]) for row in rows) <= 300


def test_jobs_of_a_key_are_limited(make: Make) -> None:
    keys = f"{KEYS};{line('other', OTHER)}"
    client = make(start=False, keys=keys, max_jobs=5, max_jobs_per_key=2).test_client()

    def status(secret: str) -> int:
        return client.post("/v1/jobs?name=a.csv", data=TABLE, headers=bearer(secret)).status_code

    assert [status(SHOP) for _ in range(3)] == [202, 202, 429]
    assert [status(OTHER) for _ in range(3)] == [202, 202, 429]


def test_size_of_all_jobs_is_limited(make: Make) -> None:
    client = make(start=False, max_jobs_bytes=30_000).test_client()
    table = b"text\n" + b"good\n" * 100
    assert send(client, table).status_code == 202
    for body in (table, b"text\n" + b"good\n" * 100_000):
        answer = send(client, body)
        assert (answer.status_code, answer.get_json()["code"]) == (507, "storage-limit")
    assert send(client, TABLE).status_code == 202


def test_uploads_leave_space_on_the_disk(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    client = make(start=False).test_client()
    assert send(client, TABLE).status_code == 202
    usage = namedtuple("usage", ["total", "used", "free"])  # as in shutil
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 10**6, 10**6))
    answer = send(client, TABLE)
    assert (answer.status_code, answer.get_json()["code"]) == (507, "storage")
    assert client.post("/v1/predict", json={"text": "good"}).status_code == 200


def test_failed_uploads_do_not_count(make: Make) -> None:
    client = make(start=False, max_jobs=1).test_client()
    for _ in range(3):
        assert send(client, b"text\n").status_code == 422
    assert send(client, TABLE).status_code == 202


def test_long_column_names_are_rejected(make: Make) -> None:
    """They would be repeated in every row of a result."""
    client = make(start=False).test_client()
    assert send(client, b"n" * 2000 + b",t\nx,\n", column="2").status_code == 422
    form = {"file": (io.BytesIO(TABLE), "a.csv"), "column": "x" * 100_000}
    assert client.post("/jobs", data=form).status_code == 422


def test_form_in_memory_is_rejected(make: Make) -> None:
    client = make(start=False).test_client()
    answer = client.post("/jobs", data=b"a&" * 1000, content_type=FORM)
    assert answer.status_code == 415


def test_rows_are_listed_with_short_texts(make: Make) -> None:
    client = make().test_client()
    job = send(client, b"text\n" + b"good " * 20_000 + b"\n").get_json()["id"]
    wait_until(lambda: client.get(f"/v1/jobs/{job}").get_json()["state"] == "done")
    [row] = client.get(f"/v1/jobs/{job}/rows").get_json()["rows"]
    assert len(row["text"]) == 2000


def test_sign_in_reads_small_forms_only(make: Make) -> None:
    client = make(start=False, keys=KEYS).test_client()
    for body, headers in (
        (b"a&" * 10_000, {}),
        (gzip.compress(b"a&" * 100_000, mtime=0), {"Content-Encoding": "gzip"}),
    ):
        answer = client.post(
            "/sign-in", data=body, content_type=FORM, headers=headers | SAME_ORIGIN
        )
        assert answer.status_code == 413


def test_ids_of_jobs_are_cut_wherever_they_are(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    client = make(start=False).test_client()
    job = send(client, TABLE).get_json()["id"]
    with caplog.at_level("DEBUG"):
        for path in (f"/v1/jobs//{job}", f"/v1/job/{job}", f"/jobs/recent/{job}"):
            client.get(path)
    assert job[:6] in caplog.text
    assert job not in caplog.text
