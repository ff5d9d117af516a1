"""The command `reelsense config`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reelsense.errors import ReelsenseError

if TYPE_CHECKING:
    pass
from reelsense.cli.setting_flags import WithSettings, config_file, effective_settings


@click.command(cls=WithSettings, short_help="Show the settings, and where each is set.")
@config_file
def config(file: Path | None, **flags: str | None) -> None:
    """Show the settings that serve would run with, and where each is set.

    What is printed is a file for --config; secrets are left out. Where serve would refuse to start
    with them, the reason follows on standard error, and the exit code is 1.
    """
    effective = effective_settings(file, flags)
    click.echo(effective.as_toml())
    from reelsense.server.process.run import check_start

    try:
        check_start(effective.settings)
    except ReelsenseError as error:
        click.echo(f"serve would not start: {error}", err=True)
        sys.exit(1)
