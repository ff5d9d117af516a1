from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from reelsense.bundle import read_bundle, write_bundle
from reelsense.cli import cli
from reelsense.errors import BundleError, InputError
from tests import tiny


def test_export_keeps_an_existing_bundle(tmp_path: Path) -> None:
    """Before it reads the checkpoint and the data."""
    write_bundle(tmp_path / "bundle", tiny.bundle())
    before = read_bundle(tmp_path / "bundle")
    command = ["export", "runs/none", "--data", "none.csv", "--output", str(tmp_path / "bundle")]
    result = CliRunner().invoke(cli, command)
    assert isinstance(result.exception, BundleError)
    assert result.exception.code == "bundle-exists"
    assert "--overwrite" in str(result.exception)
    assert read_bundle(tmp_path / "bundle") == before
    result = CliRunner().invoke(cli, [*command, "--overwrite"])
    assert getattr(result.exception, "code", None) != "bundle-exists"


@pytest.mark.parametrize("content", ["{", "[]", '{"a": 5}'])
def test_export_rejects_invalid_examples(tmp_path: Path, content: str) -> None:
    (tmp_path / "examples.json").write_text(content)
    files = ["--data", "none.csv", "--output", str(tmp_path / "new")]
    command = ["export", "runs/none", *files, "--examples", str(tmp_path / "examples.json")]
    result = CliRunner().invoke(cli, command)
    assert isinstance(result.exception, InputError)
    assert result.exception.code == "invalid-examples"
    assert CliRunner().invoke(cli, [*command, "--no-examples"]).exit_code == 2
