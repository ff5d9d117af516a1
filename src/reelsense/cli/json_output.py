"""The option --json of commands that also print text."""

from __future__ import annotations

import json
from pathlib import Path

import click

from reelsense.files import write_atomically
from reelsense.text.controls import escape_controls

STDOUT = Path("-")

json_output = click.option(
    "--json",
    "json_file",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="Write the result as JSON to this file; - for standard output.",
)


def write_result(json_file: Path | None, content: object, *lines: str) -> None:
    """Print `lines`, and write `content` to `json_file` if it is not None.

    The lines go to standard error if standard output is for the JSON.
    """
    for line in lines:
        click.echo(escape_controls(line), err=json_file == STDOUT)
    if json_file == STDOUT:
        click.echo(json.dumps(content, indent=2))
    elif json_file:
        write_atomically(json_file, json.dumps(content, indent=2) + "\n")
