"""The commands on a model directory, and a server that follows its champion."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from reelsense.bundle import CARD, read_bundle
from reelsense.cli import cli
from reelsense.errors import ModelDirectoryError, ReelsenseError, SettingsError
from reelsense.model_directory import ModelDirectory
from reelsense.server.process.run import check_start
from reelsense.server.settings import Settings
from tests import tiny_network
from tests.processes import ask, server
from tests.waiting import wait_until


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelDirectory:
    monkeypatch.setenv("REELSENSE_MODELS", str(tmp_path / "models"))
    return ModelDirectory(tmp_path / "models")


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["models", *map(str, arguments)])


def run(*arguments: object) -> Any:
    """Run a command with `--json -`, and return the JSON."""
    result = invoke(*arguments, "--json", "-")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def code(result: Result) -> str:
    assert isinstance(result.exception, ReelsenseError)
    return result.exception.code


def bundle(folder: Path, weight: float = 1.0) -> Path:
    tiny_network.write(folder, "tiny", weight=weight)
    return folder


def test_commands_manage_the_versions_of_a_directory(
    directory: ModelDirectory, tmp_path: Path
) -> None:
    source = bundle(tmp_path / "source")
    version = read_bundle(source).manifest.version
    assert run("add", source, "--challenger") == {"version": version, "aliases": ["challenger"]}
    [entry] = run("list")
    assert entry == {
        "version": version,
        "aliases": ["challenger"],
        "model": "tiny",
        "size": read_bundle(source).size,
        "labels": ["negative", "positive"],
        "test_accuracy": None,
        "folder": str(directory.path / version),
        "error": None,
    }
    directory.promote(version, None, {"forced": False}, accepted=True)
    other = run("add", bundle(tmp_path / "other", weight=2))["version"]
    directory.promote(other, version, {"forced": True}, accepted=True)
    shown = run("show")
    assert (shown["version"], shown["aliases"]) == (other, ["champion"])
    [decision] = shown["decisions"]
    assert (decision["champion"], decision["version"]) == (version, other)
    assert f"promote {version} -> {other}, forced" in invoke("show", other).stdout
    assert run("rollback") == {"champion": version}
    assert run("remove", other) == {"removed": other}
    assert [entry["version"] for entry in run("list")] == [version]
    assert code(invoke("remove", "champion")) == "version-in-use"
    header, row = invoke("list").stdout.splitlines()
    assert header.split() == ["ALIAS", "MODEL", "VERSION", "SIZE", "ACCURACY", "LABELS", "FOLDER"]
    assert row.split()[:3] == ["champion", "tiny", version]


def test_result_is_written_to_a_file(directory: ModelDirectory, tmp_path: Path) -> None:
    result = invoke("add", bundle(tmp_path / "source"), "--json", tmp_path / "result.json")
    version = json.loads((tmp_path / "result.json").read_text())["version"]
    assert result.stdout == f"added {version}\n"


def test_verify_reports_damaged_versions_and_broken_aliases(
    directory: ModelDirectory, tmp_path: Path
) -> None:
    first = directory.add(bundle(tmp_path / "source"), "challenger")
    second = directory.add(bundle(tmp_path / "source", weight=2))
    assert run("verify") == [{"name": first, "error": None}, {"name": second, "error": None}]
    (directory.path / first / CARD).write_text("changed")
    result = invoke("verify", "--json", "-")
    assert result.exit_code == 1
    errors = {entry["name"]: entry["error"] for entry in json.loads(result.stdout)}
    assert CARD in errors[first]
    assert errors[second] is None
    assert invoke("verify", second).exit_code == 0
    (directory.path / first).rename(tmp_path / "gone")
    result = invoke("verify", "--json", "-")
    assert result.exit_code == 1
    assert [e["name"] for e in json.loads(result.stdout) if e["error"]] == ["challenger"]


def test_commands_need_a_directory() -> None:
    for command in (("show",), ("verify",), ("rollback",), ("add", "x"), ("remove", "x")):
        result = invoke(*command)
        assert result.exit_code == 2
        assert "--models" in result.stderr
    assert invoke("list").stdout.startswith("NAME ")


@pytest.mark.parametrize(
    ("settings", "error", "code"),
    [
        ({"model": "default"}, SettingsError, "conflicting-settings"),
        ({"models": "nowhere"}, ModelDirectoryError, "no-model-directory"),
        ({}, ModelDirectoryError, "no-champion"),
    ],
)
def test_server_needs_a_champion(
    directory: ModelDirectory,
    tmp_path: Path,
    settings: dict[str, str],
    error: type[ReelsenseError],
    code: str,
) -> None:
    directory.add(bundle(tmp_path / "source"), "challenger")
    with pytest.raises(error) as raised:
        check_start(Settings.model_validate({"models": str(directory.path)} | settings))
    assert raised.value.code == code


@pytest.mark.slow
def test_server_follows_the_champion_without_failed_requests(
    directory: ModelDirectory, tmp_path: Path
) -> None:
    first = directory.add(bundle(tmp_path / "source"))
    second = directory.add(bundle(tmp_path / "source", weight=-1))
    directory.promote(first, None, {}, accepted=True)
    answers: list[tuple[int, str, str]] = []
    ended = threading.Event()

    def send(address: str) -> None:
        while not ended.is_set():
            answer = ask(f"{address}/v1/predict", {"text": "good"})
            label = answer.body["predictions"][0]["label"]
            answers.append((answer.status, answer.body["model"]["version"], label))

    with server("--models", str(directory.path), "--workers", "2") as (address, _):
        client = threading.Thread(target=send, args=[address])
        client.start()
        try:
            wait_until(lambda: answers)
            directory.promote(second, first, {}, accepted=True)
            wait_until(lambda: {version for _, version, _ in answers[-20:]} == {second}, 30)
            assert run("rollback") == {"champion": first}
            wait_until(lambda: {version for _, version, _ in answers[-20:]} == {first}, 30)
        finally:
            ended.set()
            client.join()
    assert set(answers) == {(200, first, "positive"), (200, second, "negative")}
