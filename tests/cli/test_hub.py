"""Exchange of bundles with a local replacement for the Hugging Face hub."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from reelsense.bundle import DEFAULT_BUNDLE, read_bundle, write_bundle
from reelsense.model_directory import ModelDirectory
from tests import tiny, tiny_network
from tests.hub_repository import TOKEN, Repository

pytestmark = pytest.mark.slow

REPOSITORY = "team/model"

LABEL = f"""
from huggingface_hub import snapshot_download
from transformers import pipeline
classify = pipeline("text-classification", snapshot_download("{REPOSITORY}"))
print(classify("A joy from the first scene to the last.")[0]["label"])
"""


@pytest.fixture
def directory(tmp_path: Path) -> ModelDirectory:
    """A directory with a champion whose network is in several files."""
    write_bundle(
        tmp_path / "source",
        tiny.bundle(network=tiny_network.large_network()),
        max_file_size=tiny_network.TABLE_SIZE,
    )
    directory = ModelDirectory(tmp_path / "models")
    directory.promote(directory.add(tmp_path / "source"), None, {}, accepted=True)
    return directory


def run(endpoint: str, *arguments: object, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
    """Run a command in a new process, because the client reads the address on import."""
    return subprocess.run(  # noqa: S603
        [sys.executable, "-m", "reelsense", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={
            **os.environ,
            "HF_ENDPOINT": endpoint,
            "HF_TOKEN": token,
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_XET": "1",
        },
    )


def result(process: subprocess.CompletedProcess[str]) -> Any:
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def test_pushed_version_can_be_pulled(directory: ModelDirectory, tmp_path: Path) -> None:
    version = directory.find("champion")
    repository = Repository(REPOSITORY)
    with repository.served() as endpoint:
        pushed = run(endpoint, "push", REPOSITORY, "--models", directory.path, "--json", "-")
        assert result(pushed)["version"] == version
        assert result(pushed)["commit"].startswith(f"{endpoint}/{REPOSITORY}/commit/")
        other = ModelDirectory(tmp_path / "other")
        repository.files["malware.py"] = b"import os"
        pulled = run(
            *(endpoint, "pull", REPOSITORY, "--models", other.path, "--challenger", "--json", "-")
        )
    assert result(pulled) == {"version": version, "aliases": ["challenger"]}
    assert other.read(version).manifest == directory.read(version).manifest
    assert {path.name for path in (other.path / version).iterdir()} == {
        path.name for path in (directory.path / version).iterdir()
    }
    assert repository.created == {"name": "model", "organization": "team", "visibility": "private"}
    assert repository.messages == [f"tiny {version}"]
    card = read_bundle(directory.path / version).card
    assert repository.files["README.md"].decode() == card


def test_bundle_and_checkpoint_are_shared(tmp_path: Path) -> None:
    """The repository is a checkpoint for Transformers too."""
    directory = ModelDirectory(tmp_path / "models")
    version = directory.add(DEFAULT_BUNDLE)
    checkpoint, copy = Path("checkpoints/default"), tmp_path / "copy"
    models = ("--models", directory.path)
    repository = Repository(REPOSITORY, {"evaluation.json": b"of an earlier bundle"})
    with repository.served() as endpoint:
        pushed = run(endpoint, "push", REPOSITORY, version, *models, "--checkpoint", checkpoint)
        pulled = run(endpoint, "pull", REPOSITORY, *models, "--checkpoint", copy)
        again = run(endpoint, "pull", REPOSITORY, *models, "--checkpoint", copy)
        environment = {"HF_ENDPOINT": endpoint, "HF_TOKEN": TOKEN, "HF_HOME": str(tmp_path / "hub")}
        labelled = subprocess.run(  # noqa: S603
            [sys.executable, "-c", LABEL],
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=True,
        )
    assert pushed.returncode == pulled.returncode == 0, pushed.stderr + pulled.stderr
    assert "checkpoint:" in pulled.stdout
    assert (again.returncode, "choose a new folder" in again.stderr) == (1, True)
    files = {path.name: path.read_bytes() for path in checkpoint.iterdir()}
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == files
    assert "evaluation.json" not in repository.files
    assert labelled.stdout.strip() == "positive"


def test_push_rejects_a_checkpoint_of_another_model(
    directory: ModelDirectory, tmp_path: Path
) -> None:
    for checkpoint, problem in ((Path("checkpoints/default"), "not exported"), (tmp_path, "no")):
        pushed = run(
            *("http://127.0.0.1:1", "push", REPOSITORY, "--models", directory.path),
            *("--checkpoint", checkpoint),
        )
        assert pushed.returncode == 1
        assert problem in pushed.stderr


def test_pull_reports_a_missing_checkpoint(directory: ModelDirectory, tmp_path: Path) -> None:
    folder = directory.path / "champion"
    repository = Repository(REPOSITORY, {p.name: p.read_bytes() for p in folder.iterdir()})
    other, copy = tmp_path / "other", tmp_path / "copy"
    with repository.served() as endpoint:
        pulled = run(endpoint, "pull", REPOSITORY, "--models", other, "--checkpoint", copy)
    assert pulled.returncode == 1
    assert f"{REPOSITORY} contains no checkpoint" in pulled.stderr
    assert not copy.exists()
    assert not other.exists()


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_pull_rejects_a_damaged_bundle(
    directory: ModelDirectory, tmp_path: Path, damage: str
) -> None:
    folder = directory.path / "champion"
    repository = Repository(REPOSITORY, {p.name: p.read_bytes() for p in folder.iterdir()})
    if damage == "changed":
        repository.files["model.onnx.data-1"] = b"changed"
    else:
        del repository.files["manifest.json"]
    with repository.served() as endpoint:
        pulled = run(endpoint, "pull", REPOSITORY, "--models", tmp_path / "other")
    assert pulled.returncode == 1
    assert f"{REPOSITORY} contains no valid bundle" in pulled.stderr
    assert not (tmp_path / "other").exists()


def test_failed_exchange_is_reported_in_one_line(directory: ModelDirectory) -> None:
    models = ("--models", directory.path)
    with Repository(REPOSITORY).served() as endpoint:
        unauthorized = run(endpoint, "push", REPOSITORY, *models, token="hf_other")  # noqa: S106
        unknown = run(endpoint, "pull", "team/other", *models)
    unreachable = run(endpoint, "pull", REPOSITORY, *models)
    for process in (unauthorized, unknown, unreachable):
        assert process.returncode == 1
        assert process.stderr.startswith("reelsense: cannot pu")
        assert process.stderr.count("\n") == 1
        assert "HF_TOKEN" in process.stderr
