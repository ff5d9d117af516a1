"""A flag for every setting of the server, for the commands that read them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from reelsense.cli import options

if TYPE_CHECKING:
    from reelsense.server.settings_sources import EffectiveSettings

_CLUSTER_OPTIONS = ("cluster", "address", "replicas", "cores_per_replica")


class WithSettings(click.Command):
    """A command with a flag for every setting.

    The settings are imported on first use, so that `reelsense --help` does not import the server.
    click only shows the environment variables: `read_settings` reads all sources.
    """

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return a flag for every setting, then the options of the command."""
        from reelsense.server.settings import Settings, flag, is_secret, variable

        warning = " Prefer the environment variable: command lines are visible to other users."
        flags: list[click.Parameter] = [
            click.Option(
                [flag(name), name],
                # A switch sets "true", which is parsed like the other values.
                is_flag=(is_switch := field.annotation is bool),
                flag_value="true" if is_switch else None,
                metavar=None if is_switch else _metavar(field.annotation),
                multiple=name == "model",
                help=f"{field.description}{warning * is_secret(name)}  [env var: {variable(name)}; "
                f"default: {_default(field.default)}]",
            )
            for name, field in Settings.model_fields.items()
        ]
        cascade = click.Option(["--cascade"], is_flag=True, help=options.CASCADE_HELP)
        return [*flags, cascade, *super().get_params(ctx)]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the command line. Several models become one value."""
        rest = super().parse_args(ctx, args)
        models: tuple[str, ...] = ctx.params["model"]
        if ctx.params.pop("cascade"):
            models = (*models, "cascade")
        if len(models) > 1 and not all("=" in model for model in models):
            raise click.UsageError(
                f"--model: {', '.join(models)}: expected NAME=MODEL for each of several models", ctx
            )
        ctx.params["model"] = ",".join(models) or None
        return rest

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the flags grouped by topic."""
        from reelsense.server.settings import GROUPS

        left: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            if record := param.get_help_record(ctx):
                left.setdefault(str(param.name), []).append(record)
        more = {"Model": ("cascade", *GROUPS["Model"]), "Cluster": _CLUSTER_OPTIONS}
        for heading, names in (GROUPS | more).items():
            records = [record for name in names for record in left.pop(name, [])]
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)
        with formatter.section("Options"):
            formatter.write_dl([record for records in left.values() for record in records])


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
    help="TOML file with settings, named like the flags with _ instead of -.  "
    "[env var: REELSENSE_CONFIG]",
)


def effective_settings(file: Path | None, flags: dict[str, str | None]) -> EffectiveSettings:
    """Return the settings from `flags`, environment, `file` and defaults, in this precedence."""
    from reelsense.server.settings_sources import read_settings

    given = {name: value for name, value in flags.items() if value is not None}
    return read_settings(given, os.environ, file)
