"""Attacks with jobs: small uploads that fill the disk, and keys that occupy all slots."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from reelsense.server.state import state_of
from tests.server.conftest import Make
from tests.server.secured import KEYS, SHOP, bearer, line

pytestmark = pytest.mark.security

OTHER = "rs_" + "other" * 8
TABLE = b"text\ngood\n"


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
    while client.get(f"/v1/jobs/{job}").get_json()["state"] != "done":
        pass
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
    client = make(start=False, max_jobs_bytes=1000).test_client()
    assert send(client, b"text\n" + b"good\n" * 100).status_code == 202
    answer = send(client, TABLE)
    assert (answer.status_code, answer.get_json()["code"]) == (507, "storage-limit")


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
