"""The command `reelsense serve`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from reelsense.errors import SettingsError

if TYPE_CHECKING:
    pass
from reelsense.cli.setting_flags import WithSettings, config_file, effective_settings


@click.command(cls=WithSettings, short_help="Answer over HTTP: pages and JSON.")
@config_file
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
    settings = effective_settings(file, flags).settings
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
