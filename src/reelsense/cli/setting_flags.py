"""A flag for every setting of the server, for the commands that read them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from reelsense.cli import options

if TYPE_CHECKING:
    from reelsense.server.settings import EffectiveSettings


_OF_CLUSTER = ("cluster", "address", "replicas", "cores_per_replica")


class WithSettings(click.Command):
    """A command with a flag for every setting.

    The settings are imported when they are asked for: `reelsense --help` does without. click only
    shows the variables: one place reads all layers.
    """

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return a flag for every setting, then the options of the command."""
        from reelsense.server.settings import Settings, flag, variable

        made = [
            click.Option(
                [flag(name), name],
                # A switch stands alone; what it sets is read as text, like the others.
                **(
                    {"is_flag": True, "flag_value": "true"}
                    if field.annotation is bool
                    else {"metavar": _metavar(field.annotation)}
                ),
                help=f"{field.description}{_warning(name)}  [env var: {variable(name)}; default: "
                f"{_default(field.default)}]",
            )
            for name, field in Settings.model_fields.items()
        ]
        return [*made, *super().get_params(ctx)]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the flags under headings: nobody finds one among thirty."""
        from reelsense.server.settings import GROUPS

        left = {
            str(param.name): record
            for param in self.get_params(ctx)
            if (record := param.get_help_record(ctx))
        }
        for heading, names in (GROUPS | {"A cluster": _OF_CLUSTER}).items():
            records = [left.pop(name) for name in names if name in left]
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)
        with formatter.section("Options"):
            formatter.write_dl(list(left.values()))


def _warning(name: str) -> str:
    from reelsense.server.settings import is_secret

    return " Better by its variable: others see command lines." if is_secret(name) else ""


def _default(value: object) -> str:
    return "none" if value in (None, "") else str(value).lower() if value is False else str(value)


def _metavar(annotation: Any) -> str:
    names = {str: "TEXT", int: "INTEGER", float: "NUMBER"}
    if annotation in names:
        return names[annotation]
    choices = get_args(annotation)
    if type(None) in choices:  # a path, a rate, a secret
        return "TEXT"
    return "|".join(choices)


config_file = click.option(
    "--config",
    "file",
    type=options.PATH,
    help="A TOML file with settings, named as the flags with _ for -.  [env var: REELSENSE_CONFIG]",
)


def effective_settings(file: Path | None, flags: dict[str, str | None]) -> EffectiveSettings:
    """Return the settings from `flags`, the environment, `file` and the defaults, in this order."""
    from reelsense.server.settings import read_settings

    given = {name: value for name, value in flags.items() if value is not None}
    return read_settings(given, os.environ, file)
