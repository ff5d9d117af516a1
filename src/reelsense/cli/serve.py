"""The command `reelsense serve`."""

from __future__ import annotations

from pathlib import Path

import click

from reelsense.cli import options
from reelsense.cli.setting_flags import WithSettings, config_file, effective_settings
from reelsense.errors import SettingsError


@click.command(cls=WithSettings, short_help="Start the HTTP server: web pages and JSON.")
@config_file
@click.option(
    "--cluster",
    type=click.Choice(["ray"]),
    help="Serve from replicas of the model on a Ray cluster (needs the extra ray).",
)
@options.address
@click.option(
    "--replicas",
    metavar="MIN-MAX",
    help="With --cluster: minimum and maximum number of replicas; the number follows the load. "
    "Default: 1 to as many as the cores allow.",
)
@click.option(
    "--cores-per-replica",
    type=click.IntRange(min=1),
    help="With --cluster: cores per replica. Default: 4, or fewer if the smallest machine has "
    "fewer.",
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
        if settings.socket_path:
            raise SettingsError(
                "--host unix:PATH cannot be combined with --cluster: use an IP address",
                code="conflicting-settings",
            )
        if settings.shadow:
            raise SettingsError(
                "--shadow cannot be combined with --cluster: use the plain server",
                code="conflicting-settings",
            )
        limits = _parse_replicas(replicas) if replicas else None
        from reelsense.cluster import serving

        serving.run(settings, serving.Plan(address, limits, cores_per_replica))
        return
    for flag, value in (
        ("--address", address),
        ("--replicas", replicas),
        ("--cores-per-replica", cores_per_replica),
    ):
        if value is not None:
            raise SettingsError(f"{flag} requires --cluster ray", code="conflicting-settings")
    from reelsense.server.process.run import run

    run(settings)


def _parse_replicas(replicas: str) -> tuple[int, int]:
    """Parse MIN-MAX, or one number for both."""
    minimum, _, maximum = replicas.partition("-")
    try:
        limits = int(minimum), int(maximum or minimum)
    except ValueError:
        limits = 0, 0
    if not 1 <= limits[0] <= limits[1]:
        raise SettingsError(
            f'--replicas: invalid value "{replicas}": expected MIN-MAX, for example 1-4'
        )
    return limits
