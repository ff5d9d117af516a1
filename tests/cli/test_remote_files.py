"""Files that fsspec reaches: an S3 server of our own."""

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

# botocore's own, and nothing of ours
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


def test_from_a_bucket_into_a_bucket(s3: Any) -> None:
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


def test_a_run_into_a_bucket_goes_on(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.pipe_file("films/in.txt", b"good\nbad\ngood\nbad\ngood\n")
    score_file(CLASSIFIER, "s3://films/in.txt", "s3://films/out/", shard_rows=2)
    whole = {name: s3.cat_file(name) for name in s3.find("films/out")}
    assert len(whole) == 4
    s3.rm("films/out", recursive=True)
    from reelsense.bulk import output

    kept = output.keep
    done: list[str] = []

    def keep(folder: Any, task: Any, scored: Any) -> Any:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(scored.name)
        return kept(folder, task, scored)

    with monkeypatch.context() as patch:
        patch.setattr(output, "keep", keep)
        with pytest.raises(KeyboardInterrupt):
            score_file(CLASSIFIER, "s3://films/in.txt", "s3://films/out/", shard_rows=2)
    again: list[str] = []

    def keep_again(folder: Any, task: Any, scored: Any) -> Any:
        again.append(scored.name)
        return kept(folder, task, scored)

    monkeypatch.setattr(output, "keep", keep_again)
    score_file(CLASSIFIER, "s3://films/in.txt", "s3://films/out/", shard_rows=2)
    assert again == ["000000-000002"]
    s3.invalidate_cache()
    assert {name: s3.cat_file(name) for name in s3.find("films/out")} == whole


def test_what_is_not_there(s3: Any) -> None:
    with pytest.raises(DatasetError, match=r"s3://films/none\.csv cannot be read"):
        score_file(CLASSIFIER, "s3://films/none.csv", "s3://films/out.csv")
    with pytest.raises(DatasetError, match=r"s3://nobody/in.csv cannot be read"):
        score_file(CLASSIFIER, "s3://nobody/in.csv", None)
    s3.pipe_file("films/in.txt", b"good\n")
    with pytest.raises(DatasetError, match=r"s3://nobody/.*cannot be"):
        score_file(CLASSIFIER, "s3://films/in.txt", "s3://nobody/out.csv")


def test_an_address_that_nothing_knows() -> None:
    with pytest.raises(DatasetError, match=r"gopher://a/b.csv cannot be used: .*gopher"):
        score_file(CLASSIFIER, "gopher://a/b.csv", None)
