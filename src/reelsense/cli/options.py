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
    help="Name of an installed model (see `reelsense models`) or folder of a bundle; by default "
    "the bundled model.",
)

risk = click.option(
    "--risk",
    type=float,
    help="Target error rate, for example 0.02: less certain verdicts are unsure. By default that "
    "of the model.",
)

validation_sets = click.option(
    "--evaluation-sets",
    "sets_folder",
    type=PATH,
    help="Also calibrate single sentences, on the SST-2 validation set in this folder (see "
    "`reelsense data fetch evaluation-sets`).",
)


def labelled_data(command: _Command) -> _Command:
    """Add --data, --text-column and --label-column."""
    for option in (
        click.option("--label-column", default="label", show_default=True, help="Of a table."),
        click.option("--text-column", default="text", show_default=True, help="Of a table."),
        click.option(
            "--data",
            type=PATH,
            required=True,
            help="Folder of the Large Movie Review Dataset, or a .csv, .tsv or .jsonl table.",
        ),
    ):
        command = option(command)
    return command
