"""The command `reelsense mcp`."""

from __future__ import annotations

import socket
from pathlib import Path

import click

from reelsense.cli import options
from reelsense.errors import ReelsenseError

_HOST = "127.0.0.1"


@click.command(short_help="Offer predictions to agents (Model Context Protocol).")
@click.option(
    "--http",
    "port",
    type=click.IntRange(1, 65535),
    metavar="PORT",
    help="Serve streamable HTTP at http://127.0.0.1:PORT/mcp. Default: standard input and output.",
)
@click.option(
    "--folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Offer the tool score_file for files in this folder. Default: not offered.",
)
@options.risk
@options.model
def mcp(port: int | None, folder: Path | None, risk: float | None, model: str | None) -> None:
    """Serve the tools predict, explain and score_file to agents (Model Context Protocol).

    Needs the extra mcp. Agents start this command themselves, or connect to it with --http, which
    accepts connections from this machine only.
    """
    from reelsense.inference.classifier import Classifier
    from reelsense.integrations.mcp import create_server

    if port is not None:
        _check_free(port)
    classifier = Classifier.load(model)
    options.warn_if_unreachable(classifier.manifest, risk)
    server = create_server(classifier, risk=risk, folder=folder)
    if port is None:
        server.run("stdio")
    else:
        server.run("streamable-http", host=_HOST, port=port, stateless_http=True)


def _check_free(port: int) -> None:
    try:
        socket.create_server((_HOST, port)).close()
    except OSError as error:
        raise ReelsenseError(
            f"cannot listen on {_HOST}, port {port}: {error.strerror}; choose another port with "
            "--http",
            code="cannot-listen",
        ) from error
