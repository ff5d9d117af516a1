"""Tables, and results as text and JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click

from reelsense.files import write_atomically
from reelsense.text.controls import escape_controls

STDOUT = Path("-")

PRIVATE = 0o600
"""Permissions of files that may contain private texts."""

json_output = click.option(
    "--json",
    "json_file",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="Write the result as JSON to this file; - for standard output.",
)


def write_result(json_file: Path | None, content: object, *lines: str, mode: int = 0o666) -> None:
    """Print `lines`, and write `content` to `json_file` if it is not None.

    The lines go to standard error if standard output is for the JSON. `mode` are the permissions of
    the file, from which the umask is subtracted.
    """
    for line in lines:
        click.echo(escape_controls(line), err=json_file == STDOUT)
    if json_file == STDOUT:
        click.echo(json.dumps(content, indent=2))
    elif json_file:
        write_atomically(json_file, json.dumps(content, indent=2) + "\n", mode)


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a line for each of `rows`, which have the same number of cells."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
