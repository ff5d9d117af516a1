"""The command `reelsense key`."""

from __future__ import annotations

from pathlib import Path

import click

from reelsense.cli import options


@click.command(short_help="Create an API key.")
@click.argument("name")
@click.option(
    "--rate-limit",
    help="Rate limit of the key, for example 600/minute. Default: that of the server.",
)
@click.option(
    "--admin",
    is_flag=True,
    help="Valid only for /metrics, /v1/shadow, /admin and GET /v1/feedback.",
)
@click.option(
    "--feedback",
    is_flag=True,
    help="May also give feedback, and read the stored texts in the review queue.",
)
@click.option(
    "--keys-file",
    type=options.PATH,
    help="Append the hash of the key to this file (created if missing).",
)
def key(
    name: str, rate_limit: str | None, admin: bool, feedback: bool, keys_file: Path | None
) -> None:
    """Create an API key for NAME and print it. It cannot be shown again: only its hash is stored.

    Without --keys-file, the line for the keys file or REELSENSE_KEYS is printed to standard error.
    A running server reloads its keys file on SIGHUP.
    """
    options.require(not (admin and feedback), "--feedback cannot be combined with --admin")
    from reelsense.server.middleware import keys

    secret, made = keys.make(name, rate_limit, admin=admin, feedback=feedback)
    if keys_file:
        keys.add(keys_file, made)
        click.echo(f"{name} added to {keys_file}. The key is shown only once:", err=True)
    else:
        click.echo(f"For the keys file or REELSENSE_KEYS: {made.line()}", err=True)
    click.echo(secret)
