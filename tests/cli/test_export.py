from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from reelsense.bundle import read_bundle, write_bundle
from reelsense.cli import cli
from reelsense.errors import BundleError
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
