"""Commands around the server: serve, config."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from reelsense.cli import options

if TYPE_CHECKING:
    from reelsense.server.config import Effective


class _WithSettings(click.Command):
    """A command with a flag for every setting.

    The settings are imported when they are asked for: `reelsense --help` does without. click only
    shows the variables: one place reads all layers.
    """

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        from reelsense.server.config import Settings, flag, variable

        made = [
            click.Option(
                [flag(name), name],
                metavar=_metavar(field.annotation),
                help=f"{field.description}  [env var: {variable(name)}; default: "
                f"{'none' if field.default is None else field.default}]",
            )
            for name, field in Settings.model_fields.items()
        ]
        return [*made, *super().get_params(ctx)]


def _metavar(annotation: Any) -> str:
    names = {str: "TEXT", int: "INTEGER", float: "NUMBER"}
    if annotation in names:
        return names[annotation]
    choices = get_args(annotation)
    return "PATH" if str in choices else "|".join(choices)


_config = click.option(
    "--config",
    "file",
    type=options.PATH,
    help="A TOML file with settings, named as the flags with _ for -.  [env var: REELSENSE_CONFIG]",
)


@click.command(cls=_WithSettings)
@_config
def serve(file: Path | None, **flags: str | None) -> None:
    """Answer over HTTP: a page at /, JSON at /v1/predict, the contract at /docs.

    A flag goes before its environment variable, that before the file, and all before the default.
    """
    from reelsense.server.run import run

    run(_effective(file, flags).settings)


@click.command(cls=_WithSettings)
@_config
def config(file: Path | None, **flags: str | None) -> None:
    """Show the settings that serve would run with, and where each is set.

    What is printed is a file for --config; secrets are stars.
    """
    click.echo(_effective(file, flags).as_toml())


def _effective(file: Path | None, flags: dict[str, str | None]) -> Effective:
    from reelsense.server.config import read_settings

    given = {name: value for name, value in flags.items() if value is not None}
    return read_settings(given, os.environ, file)
