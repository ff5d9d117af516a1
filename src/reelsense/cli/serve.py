"""Commands around the server: serve, config, key."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from reelsense.cli import options
from reelsense.errors import ReelsenseError, SettingsError

if TYPE_CHECKING:
    from reelsense.server.settings import Effective


_OF_CLUSTER = ("cluster", "address", "replicas", "cores_per_replica")


class _WithSettings(click.Command):
    """A command with a flag for every setting.

    The settings are imported when they are asked for: `reelsense --help` does without. click only
    shows the variables: one place reads all layers.
    """

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
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


_config = click.option(
    "--config",
    "file",
    type=options.PATH,
    help="A TOML file with settings, named as the flags with _ for -.  [env var: REELSENSE_CONFIG]",
)


@click.command(cls=_WithSettings, short_help="Answer over HTTP: pages and JSON.")
@_config
@click.option(
    "--cluster",
    type=click.Choice(["ray"]),
    help="Serve from replicas of the model on a cluster: pip install 'reelsense[ray]'.",
)
@click.option(
    "--address",
    metavar="HOST",
    help="With --cluster: HOST[:PORT] of the cluster's head, or auto for the one this machine is "
    "part of; by default this machine is the cluster.",
)
@click.option(
    "--replicas",
    metavar="MIN-MAX",
    help="With --cluster: how many, as there is to do; by default 1 to as many as there are cores "
    "for.",
)
@click.option(
    "--cores-per-replica",
    type=click.IntRange(min=1),
    help="With --cluster: by default 4, or those of the smallest machine.",
)
def serve(
    file: Path | None,
    cluster: str | None,
    address: str | None,
    replicas: str | None,
    cores_per_replica: int | None,
    **flags: str | None,
) -> None:
    """Answer over HTTP: a page at /, JSON at /v1/predict, the contract at /docs.

    A flag goes before its environment variable, that before the file, and all before the default.
    """
    settings = _effective(file, flags).settings
    if cluster:
        if settings.workers > 1:
            raise SettingsError("--workers is of one machine: with --cluster there are --replicas")
        bounds = _bounds(replicas) if replicas else None
        from reelsense.cluster import serving

        serving.run(settings, serving.Plan(address, bounds, cores_per_replica))
        return
    alone = {"address": address, "replicas": replicas, "cores_per_replica": cores_per_replica}
    for name, value in alone.items():
        if value is not None:
            raise SettingsError(f"--{name.replace('_', '-')} means nothing without --cluster ray")
    from reelsense.server.process.run import run

    run(settings)


def _bounds(replicas: str) -> tuple[int, int]:
    """Read MIN-MAX, or one number for both. Raises SettingsError."""
    least, _, most = replicas.partition("-")
    try:
        bounds = int(least), int(most or least)
    except ValueError:
        bounds = 0, 0
    if not 1 <= bounds[0] <= bounds[1]:
        raise SettingsError(f"--replicas: should be as 1-4, not {replicas!r}")
    return bounds


@click.command(cls=_WithSettings, short_help="Show the settings, and where each is set.")
@_config
def config(file: Path | None, **flags: str | None) -> None:
    """Show the settings that serve would run with, and where each is set.

    What is printed is a file for --config; secrets are left out. Where serve would refuse to start
    with them, the reason follows on standard error, and the exit code is 1.
    """
    effective = _effective(file, flags)
    click.echo(effective.as_toml())
    from reelsense.server.process.run import check_start

    try:
        check_start(effective.settings)
    except ReelsenseError as error:
        click.echo(f"serve would not start: {error}", err=True)
        sys.exit(1)


def _effective(file: Path | None, flags: dict[str, str | None]) -> Effective:
    from reelsense.server.settings import read_settings

    given = {name: value for name, value in flags.items() if value is not None}
    return read_settings(given, os.environ, file)


@click.command(short_help="Make an API key for NAME.")
@click.argument("name")
@click.option("--rate", help="Its most requests, as 600/minute; by default the server's.")
@click.option("--admin", is_flag=True, help="It opens /metrics and /admin, and nothing else.")
@click.option("--keys-file", type=options.PATH, help="Add its hash to this file, made if need be.")
def key(name: str, rate: str | None, admin: bool, keys_file: Path | None) -> None:
    """Make an API key for NAME: print it, this once, and keep its hash.

    Without --keys-file, the line with the hash is printed too, on standard error, for a file or
    for REELSENSE_KEYS. A server that runs reads its file anew on SIGHUP.
    """
    from reelsense.server.middleware import api_keys

    secret, made = api_keys.make(name, rate, admin=admin)
    if keys_file:
        api_keys.add(keys_file, made)
        click.echo(f"{name} is in {keys_file}; this is the only time its key is shown:", err=True)
    else:
        click.echo(f"For the file of keys, or REELSENSE_KEYS: {made.line()}", err=True)
    click.echo(secret)
