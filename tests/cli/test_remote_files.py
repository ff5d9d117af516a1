"""Files on S3, with a local server."""

import csv
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from reelsense.errors import DatasetError
from tests import tiny
from tests.scoring import score_file

moto = pytest.importorskip("moto.server")
s3fs = pytest.importorskip("s3fs")

# inside botocore
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:botocore.*")

CLASSIFIER = tiny.classifier()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    running.start()
    yield f"http://127.0.0.1:{port}"
    running.stop()


@pytest.fixture
def s3(server: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, value in {
        "AWS_ENDPOINT_URL": server,
        "AWS_ACCESS_KEY_ID": "someone",
        "AWS_SECRET_ACCESS_KEY": "knows",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    store = s3fs.S3FileSystem()
    if store.exists("films"):
        store.rm("films", recursive=True)
    store.mkdir("films")
    return store


def test_score_files_from_bucket_to_bucket(s3: Any) -> None:
    for name in ("a", "b"):
        s3.pipe_file(f"films/in/{name}.csv", f"text\n{name} good\n,\nbad\n".encode())
    score_file(CLASSIFIER, "s3://films/in/*.csv", "s3://films/out.csv", shard_rows=2)
    rows = list(csv.DictReader(s3.cat_file("films/out.csv").decode().splitlines()))
    assert [row["text"] for row in rows] == ["a good", "", "bad", "b good", "", "bad"]
    assert rows[3]["file"] == "s3://films/in/b.csv"
    bad = s3.cat_file("films/out.csv.bad-rows.jsonl").decode().splitlines()
    assert [json.loads(line)["file"] for line in bad] == [
        "s3://films/in/a.csv",
        "s3://films/in/b.csv",
    ]
    s3.invalidate_cache()
    assert {name for name in s3.find("films") if "/in/" not in name} == {
        "films/out.csv",
        "films/out.csv.bad-rows.jsonl",
    }


def test_run_into_bucket_resumes(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.pipe_file("films/in.txt", b"good\nbad\ngood\nbad\ngood\n")
    score_file(CLASSIFIER, "s3://films/in.txt", "s3://films/out/", shard_rows=2)
    whole = {name: s3.cat_file(name) for name in s3.find("films/out")}
    assert len(whole) == 4
    s3.rm("films/out", recursive=True)
    from reelsense.bulk import output

    write_shard = output.write_shard
    names: list[str] = []

    def write(folder: Any, task: Any, scored: Any) -> None:
        names.append(scored.name)
        if len(names) == 3:
            raise KeyboardInterrupt
        write_shard(folder, task, scored)

    monkeypatch.setattr(output, "write_shard", write)
    with pytest.raises(KeyboardInterrupt):
        score_file(CLASSIFIER, "s3://films/in.txt", "s3://films/out/", shard_rows=2)
    score_file(CLASSIFIER, "s3://films/in.txt", "s3://films/out/", shard_rows=2)
    assert names[3:] == ["000000-000002"]
    s3.invalidate_cache()
    assert {name: s3.cat_file(name) for name in s3.find("films/out")} == whole


def test_missing_remote_files_are_errors(s3: Any) -> None:
    for source in ("s3://films/none.csv", "s3://nobody/in.csv"):
        with pytest.raises(DatasetError, match=source) as error:
            score_file(CLASSIFIER, source, "s3://films/out.csv")
        assert error.value.code == "unreadable-file"
    s3.pipe_file("films/in.txt", b"good\n")
    with pytest.raises(DatasetError, match="s3://nobody/") as error:
        score_file(CLASSIFIER, "s3://films/in.txt", "s3://nobody/out.csv")
    assert error.value.code == "unwritable-file"


def test_unknown_url_scheme_is_an_error() -> None:
    with pytest.raises(DatasetError, match=r"gopher://a/b.csv") as error:
        score_file(CLASSIFIER, "gopher://a/b.csv", None)
    assert error.value.code == "unwritable-file"
