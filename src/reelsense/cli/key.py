"""The command `reelsense key`."""

from __future__ import annotations

from pathlib import Path

import click

from reelsense.cli import options


@click.command(short_help="Create an API key.")
@click.argument("name")
@click.option("--rate-limit", help="Its rate limit, as 600/minute; by default that of the server.")
@click.option("--admin", is_flag=True, help="Valid for /metrics and /admin, and for nothing else.")
@click.option(
    "--keys-file", type=options.PATH, help="Add its hash to this file, which is created if missing."
)
def key(name: str, rate_limit: str | None, admin: bool, keys_file: Path | None) -> None:
    """Create an API key for NAME and print it. It cannot be shown again: only its hash is stored.

    Without --keys-file, the line with the hash is printed to standard error, for a keys file or
    REELSENSE_KEYS. A running server reloads its keys file on SIGHUP.
    """
    from reelsense.server.middleware import keys

    secret, made = keys.make(name, rate_limit, admin=admin)
    if keys_file:
        keys.add(keys_file, made)
        click.echo(f"{name} added to {keys_file}. The key is shown only once:", err=True)
    else:
        click.echo(f"For the keys file or REELSENSE_KEYS: {made.line()}", err=True)
    click.echo(secret)
