"""`reelsense doctor`, and completion in shells."""

from __future__ import annotations

import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from reelsense.cli import cli
from reelsense.jobs.database import REVISION, Database
from tests import tiny_network


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small model as the bundled one, a free port and a new folder for the database."""
    tiny_network.write(tmp_path / "model", "tiny")
    monkeypatch.setenv("REELSENSE_MODEL", str(tmp_path / "model"))
    monkeypatch.setenv("REELSENSE_PORT", "0")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def run(tmp_path: Path, *options: str) -> tuple[int, dict[str, dict[str, str]]]:
    """Return the exit code and the checks by name."""
    output = tmp_path / "checks.json"
    model = ["--model", str(tmp_path / "model")]
    result = CliRunner().invoke(cli, ["doctor", *model, "--json", str(output), *options])
    checks: list[dict[str, Any]] = json.loads(output.read_text())["checks"]
    for check, line in zip(checks, result.stdout.splitlines(), strict=True):
        assert line == f"{check['status']:8} {check['name']:11} {check['detail']}"
    return result.exit_code, {check["name"]: check for check in checks}


def test_doctor_reports_a_working_installation(tmp_path: Path) -> None:
    code, checks = run(tmp_path)
    assert (code, {check["status"] for check in checks.values()}) == (0, {"ok"})
    details = {name: check["detail"] for name, check in checks.items()}
    python = ".".join(map(str, sys.version_info[:3]))
    assert details["system"].startswith(f"Python {python}, ")
    assert re.search(r"openvino \d+\.", details["packages"])
    assert "pytest" not in details["packages"]
    assert "INT8" in details["processor"]
    assert details["model"].startswith("tiny ")
    assert re.match(r"\w+ [\d.]+% in [\d.]+ ms, ", details["prediction"])
    assert details["address"] == "127.0.0.1:0 is free"
    assert str(tmp_path / "state") in details["folders"]
    assert "new, created when the server starts" in details["database"]
    assert not (tmp_path / "state").exists()  # nothing is changed


def test_doctor_prints_the_json_document_alone(tmp_path: Path) -> None:
    arguments = ["doctor", "--model", str(tmp_path / "model"), "--json", "-"]
    result = CliRunner().invoke(cli, arguments)
    names = [check["name"] for check in json.loads(result.stdout)["checks"]]
    assert names == [line[9:].split()[0] for line in result.stderr.splitlines()]


def test_doctor_detects_a_damaged_model(tmp_path: Path) -> None:
    (tmp_path / "model" / "MODEL_CARD.md").write_text("changed")
    code, checks = run(tmp_path)
    failed = {name for name, check in checks.items() if check["status"] == "failed"}
    assert (code, failed) == (1, {"model", "prediction", "settings"})


def test_doctor_warns_if_the_port_is_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("REELSENSE_PORT", str(server.getsockname()[1]))
        code, checks = run(tmp_path)
    assert (code, checks["address"]["status"]) == (0, "warning")


def test_doctor_reports_invalid_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REELSENSE_HOST", "0.0.0.0")  # noqa: S104  # rejected
    code, checks = run(tmp_path)
    assert (code, checks["settings"]["status"]) == (1, "failed")
    assert "--insecure-public" in checks["settings"]["detail"]


def test_doctor_reports_the_schema_of_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "jobs.db"
    monkeypatch.setenv("REELSENSE_DATABASE", f"sqlite:///{path}")
    Database(f"sqlite:///{path}").close()
    assert run(tmp_path)[1]["database"]["detail"].endswith(f": schema {REVISION}")
    for revision, status, detail in (("0001", "ok", "migrated to"), ("9999", "failed", "newer")):
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE alembic_version SET version_num = ?", [revision])
        connection.close()
        check = run(tmp_path)[1]["database"]
        assert check["status"] == status
        assert detail in check["detail"]
    path.write_bytes(b"no database" * 500)
    assert run(tmp_path)[1]["database"]["status"] == "failed"


def test_doctor_works_without_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "reelsense.server", None)
    code, checks = run(tmp_path)
    warned = {name for name, check in checks.items() if check["status"] == "warning"}
    assert (code, warned) == (0, {"settings", "address", "database"})


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write everywhere")
def test_doctor_detects_folders_that_are_not_writable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "locked" / "state"))
    assert run(tmp_path)[1]["folders"]["status"] == "failed"


@pytest.fixture
def reelsense(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command `reelsense` in PATH."""
    command = tmp_path / "bin" / "reelsense"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m reelsense "$@"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}:{os.environ['PATH']}")


# compopt works only while bash completes.
_COMPLETE = """
compopt() { :; }
eval "$(_REELSENSE_COMPLETE=bash_source reelsense)"
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_reelsense_completion reelsense
echo "${COMPREPLY[@]}"
"""


@pytest.mark.usefixtures("reelsense")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("reelsense pre", "predict"),
        ("reelsense predict --ri", "--risk"),
        ("reelsense predict --model de", "default"),
        ("reelsense serve --por", "--port"),
    ],
)
def test_bash_completes_commands_flags_and_models(words: str, expected: str) -> None:
    result = subprocess.run(  # noqa: S603
        ["bash", "-c", _COMPLETE, "bash", *words.split()],  # noqa: S607
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.split() == [expected], result.stderr


@pytest.mark.usefixtures("reelsense")
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_defines_the_command(shell: str) -> None:
    result = subprocess.run(
        ["reelsense"],  # noqa: S607
        env=os.environ | {"_REELSENSE_COMPLETE": f"{shell}_source"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"_REELSENSE_COMPLETE={shell}_complete" in result.stdout
