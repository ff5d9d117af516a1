"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., object])

PATH = click.Path(path_type=Path)

model = click.option(
    "--model",
    help="Name of an installed model (`reelsense models`) or folder of a bundle; by default the "
    "bundled model.",
)

validation_sets = click.option(
    "--evaluation-sets",
    "sets_folder",
    type=PATH,
    help="Calibrate single sentences too, on the validation sentences of SST-2 in this folder, as "
    "`reelsense data fetch evaluation-sets` brings them.",
)


def labelled_data(command: _Command) -> _Command:
    """Add --data, --text-column and --label-column."""
    for option in (
        click.option("--label-column", default="label", show_default=True, help="In a table."),
        click.option("--text-column", default="text", show_default=True, help="In a table."),
        click.option(
            "--data",
            type=PATH,
            required=True,
            help="The unpacked Large Movie Review Dataset, or a table: .csv, .tsv, .jsonl.",
        ),
    ):
        command = option(command)
    return command
