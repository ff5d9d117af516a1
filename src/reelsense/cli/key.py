"""The command `reelsense key`."""

from __future__ import annotations

from pathlib import Path

import click

from reelsense.cli import options


@click.command(short_help="Make an API key for NAME.")
@click.argument("name")
@click.option("--rate-limit", help="Its most requests, as 600/minute; by default the server's.")
@click.option("--admin", is_flag=True, help="It opens /metrics and /admin, and nothing else.")
@click.option("--keys-file", type=options.PATH, help="Add its hash to this file, made if need be.")
def key(name: str, rate_limit: str | None, admin: bool, keys_file: Path | None) -> None:
    """Make an API key for NAME: print it, this once, and keep its hash.

    Without --keys-file, the line with the hash is printed too, on standard error, for a file or
    for REELSENSE_KEYS. A server that runs reads its file anew on SIGHUP.
    """
    from reelsense.server.middleware import api_keys

    secret, made = api_keys.make(name, rate_limit, admin=admin)
    if keys_file:
        api_keys.add(keys_file, made)
        click.echo(f"{name} is in {keys_file}; this is the only time its key is shown:", err=True)
    else:
        click.echo(f"For the file of keys, or REELSENSE_KEYS: {made.line()}", err=True)
    click.echo(secret)
