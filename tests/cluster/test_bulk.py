"""Bulk scoring on a cluster: the output equals that of a local run, whatever fails meanwhile."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reelsense.bulk.output import Output
from reelsense.bulk.progress import ScoringProgress, ScoringSummary
from reelsense.bulk.score_files import score_files
from reelsense.bundle import read_bundle
from reelsense.errors import ClusterError, DatasetError
from reelsense.tables.text import MAX_LINE
from tests import tiny_network
from tests.cluster.conftest import Machines, processes
from tests.waiting import wait_until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "bundle"
    tiny_network.write(folder, "tiny")
    return folder


def reviews(folder: Path, count: int) -> Path:
    path = folder / "in.jsonl"
    with path.open("w") as file:
        for n in range(count):
            text = "" if n % 101 == 7 else f"a good film {'bad ' * (n % 37)}"
            file.write(json.dumps({"id": n, "text": text}) + "\n")
    return path


def on_ray(
    model: Path,
    inputs: Path | str,
    output: Path | str,
    address: str,
    cores: int | None = None,
    **options: Any,
) -> ScoringSummary:
    from reelsense.cluster.score_files import RayExecutor

    executor = RayExecutor(read_bundle(model), address, cores)
    return score_files(inputs, output, executor=executor, **options)


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("name", ["out.csv", "out.parquet", "out/"])
def test_output_equals_local_output(
    tmp_path: Path, model: Path, machines: Machines, name: str
) -> None:
    source = reviews(tmp_path, 700)
    for folder in ("local", "remote"):
        (tmp_path / folder).mkdir()
    local = score_files(source, f"{tmp_path}/local/{name}", model=model, shard_rows=100)
    remote = on_ray(model, source, f"{tmp_path}/remote/{name}", machines.address, shard_rows=100)
    assert (remote.rows, remote.bad_rows) == (local.rows, local.bad_rows) == (700, 7)
    assert tree(tmp_path / "remote") == tree(tmp_path / "local")


def test_relative_paths_are_supported(
    tmp_path: Path, model: Path, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    for n in range(5):
        (tmp_path / "in" / f"{n}.txt").write_text("good\n\nbad\n" * (n + 1))
    monkeypatch.chdir(tmp_path)
    score_files("in", "local/", model=model, shard_rows=4)
    on_ray(model, "in", "remote/", machines.address, shard_rows=4)
    assert tree(tmp_path / "remote") == tree(tmp_path / "local")


@pytest.mark.parametrize("lost", ["an actor", "a machine"])
def test_every_row_is_scored_once_despite_failures(
    tmp_path: Path, model: Path, machines: Machines, lost: str
) -> None:
    source = reviews(tmp_path, 3000)
    score_files(source, tmp_path / "local.jsonl", model=model, shard_rows=20)
    killed: list[int] = []

    def lose(progress: ScoringProgress) -> None:
        if progress.rows != 20 * 20:
            return
        if lost == "a machine":
            machines.lose_one()
            killed.append(1)
        else:
            killed.extend(processes("MapWorker(MapBatches(_Score))")[:1])
            os.kill(killed[0], signal.SIGKILL)

    output = tmp_path / "remote.jsonl"
    summary = on_ray(model, source, output, machines.address, shard_rows=20, on_progress=lose)
    assert killed
    assert (summary.rows, summary.resumed_rows) == (3000, 0)
    assert (tmp_path / "remote.jsonl").read_bytes() == (tmp_path / "local.jsonl").read_bytes()
    lines = (tmp_path / "remote.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == list(range(3000))


def test_killed_driver_resumes(tmp_path: Path, model: Path, machines: Machines) -> None:
    source = reviews(tmp_path, 6000)
    score_files(source, tmp_path / "local.csv", model=model, shard_rows=20)
    command = [sys.executable, "-m", "reelsense", "predict", "--model", str(model)]
    command += ["--input", str(source), "--output", f"{tmp_path}/remote.csv", "--shard-rows", "20"]
    command += ["--cluster", "ray", "--address", machines.address]
    records: Callable[[], int] = lambda: len(list((tmp_path / "remote.csv.parts").glob("record-*")))  # noqa: E731
    with subprocess.Popen(command) as run:  # noqa: S603
        wait_until(lambda: records() > 20, 120)
        run.send_signal(signal.SIGKILL)
    assert run.returncode == -signal.SIGKILL
    again = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    assert "resumed: " in again.stderr
    assert (tmp_path / "remote.csv").read_bytes() == (tmp_path / "local.csv").read_bytes()


def test_error_of_a_file_is_the_same_as_locally(
    tmp_path: Path, model: Path, machines: Machines
) -> None:
    source = tmp_path / "in.csv"
    source.write_text("text\ngood\nbad\n" + "x" * (MAX_LINE + 1) + "\n")
    with pytest.raises(DatasetError) as local:
        score_files(source, tmp_path / "local.csv", model=model, shard_rows=1)
    with pytest.raises(DatasetError) as remote:
        on_ray(model, source, tmp_path / "remote.csv", machines.address, shard_rows=1)
    assert (str(remote.value), remote.value.code) == (str(local.value), local.value.code)


def test_unwritable_shard_ends_the_run(
    tmp_path: Path, model: Path, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = reviews(tmp_path, 30)
    (tmp_path / "out.csv.parts").mkdir()
    # A folder with the name of a shard: the rename fails on every machine.
    monkeypatch.setattr(Output, "begin_changes", lambda self: blocked(tmp_path))
    with pytest.raises(DatasetError, match=r"part-000000-000001\.csv") as error:
        on_ray(model, source, tmp_path / "out.csv", machines.address, shard_rows=10)
    assert error.value.code == "unwritable-file"


def blocked(folder: Path) -> None:
    (folder / "out.csv.parts" / "part-000000-000001.csv").mkdir()


def test_too_many_cores_are_rejected(tmp_path: Path, model: Path, machines: Machines) -> None:
    with pytest.raises(ClusterError) as error:
        on_ray(model, reviews(tmp_path, 3), tmp_path / "out.csv", machines.address, 64)
    assert error.value.code == "not-enough-cores"


def test_unreachable_cluster_is_an_error(tmp_path: Path, model: Path) -> None:
    source = reviews(tmp_path, 3)
    with pytest.raises(ClusterError) as error:
        on_ray(model, source, tmp_path / "out.csv", "127.0.0.1:1")
    assert error.value.code == "no-cluster"
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]
