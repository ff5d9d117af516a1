"""The command `reelsense serve`."""

from __future__ import annotations

from pathlib import Path

import click

from reelsense.cli.setting_flags import WithSettings, config_file, effective_settings
from reelsense.errors import SettingsError


@click.command(cls=WithSettings, short_help="Start the HTTP server: web pages and JSON.")
@config_file
@click.option(
    "--cluster",
    type=click.Choice(["ray"]),
    help="Serve from replicas of the model on a cluster: pip install 'reelsense[ray]'.",
)
@click.option(
    "--address",
    metavar="HOST",
    help="With --cluster: HOST[:PORT] of the cluster's head node, or auto for the cluster that "
    "this machine belongs to; by default a new cluster on this machine.",
)
@click.option(
    "--replicas",
    metavar="MIN-MAX",
    help="With --cluster: number of replicas, which follows the load; by default from 1 to as "
    "many as there are cores for.",
)
@click.option(
    "--cores-per-replica",
    type=click.IntRange(min=1),
    help="With --cluster: by default 4, or the cores of the smallest machine if it has fewer.",
)
def serve(
    file: Path | None,
    cluster: str | None,
    address: str | None,
    replicas: str | None,
    cores_per_replica: int | None,
    **flags: str | None,
) -> None:
    """Start the HTTP server: web page at /, JSON at /v1/predict, API reference at /docs.

    Flags override environment variables, which override the file.
    """
    settings = effective_settings(file, flags).settings
    if cluster:
        if settings.workers > 1:
            raise SettingsError(
                "--workers cannot be combined with --cluster: use --replicas",
                code="conflicting-settings",
            )
        bounds = _bounds(replicas) if replicas else None
        from reelsense.cluster import serving

        serving.run(settings, serving.Plan(address, bounds, cores_per_replica))
        return
    cluster_options = {
        "address": address,
        "replicas": replicas,
        "cores_per_replica": cores_per_replica,
    }
    for name, value in cluster_options.items():
        if value is not None:
            raise SettingsError(
                f"--{name.replace('_', '-')} requires --cluster ray", code="conflicting-settings"
            )
    from reelsense.server.process.run import run

    run(settings)


def _bounds(replicas: str) -> tuple[int, int]:
    """Parse MIN-MAX, or one number for both. Raises SettingsError."""
    least, _, most = replicas.partition("-")
    try:
        bounds = int(least), int(most or least)
    except ValueError:
        bounds = 0, 0
    if not 1 <= bounds[0] <= bounds[1]:
        raise SettingsError(
            f'--replicas: invalid value "{replicas}": expected MIN-MAX, for example 1-4'
        )
    return bounds
