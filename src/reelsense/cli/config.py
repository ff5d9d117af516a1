"""The command `reelsense config`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from reelsense.cli.setting_flags import WithSettings, config_file, effective_settings
from reelsense.errors import ReelsenseError
from reelsense.text.controls import escape_controls


@click.command(cls=WithSettings, short_help="Show the settings of the server and their origins.")
@config_file
def config(file: Path | None, **flags: str | None) -> None:
    """Show the settings that `reelsense serve` would use, and the origin of each.

    The output is valid input for --config; secrets are left out. If the server could not start with
    these settings, the reason is printed to standard error and the exit code is 1.
    """
    effective = effective_settings(file, flags)
    click.echo(effective.as_toml())
    from reelsense.server.process.run import check_start

    try:
        check_start(effective.settings)
    except ReelsenseError as error:
        click.echo(f"the server would not start: {escape_controls(str(error))}", err=True)
        sys.exit(1)
