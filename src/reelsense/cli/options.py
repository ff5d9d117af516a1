"""Options and checks that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from reelsense.bundle import Manifest

PATH = click.Path(path_type=Path)

model = click.option(
    "--model",
    help="Name of an installed model (see `reelsense models`) or folder of a bundle. Default: the "
    "bundled model.",
)

risk = click.option(
    "--risk",
    type=float,
    help="Target error rate, for example 0.02: verdicts below the decision threshold become "
    "unsure. Default: the target error rate of the model.",
)

address = click.option(
    "--address",
    metavar="HOST",
    help="With --cluster: HOST[:PORT] of the cluster's head node, or auto on a node of the "
    "cluster. Default: start a cluster on this machine.",
)

validation_sets = click.option(
    "--evaluation-sets",
    "sets_folder",
    type=PATH,
    help="Also calibrate single sentences, on the SST-2 validation set in this folder (see "
    "`reelsense data fetch evaluation-sets`).",
)


def labelled_data(command: Callable[..., None]) -> Callable[..., None]:
    """Add --data, --text-column and --label-column; the command gets them as `source`."""

    @click.option(
        "--data",
        type=PATH,
        required=True,
        help="Folder of the Large Movie Review Dataset, or a .csv, .tsv or .jsonl table.",
    )
    @click.option(
        "--text-column",
        default="text",
        show_default=True,
        help="Column that contains the texts, if --data is a table.",
    )
    @click.option(
        "--label-column",
        default="label",
        show_default=True,
        help="Column that contains the labels, if --data is a table.",
    )
    @wraps(command)
    def with_source(data: Path, text_column: str, label_column: str, **options: Any) -> None:
        from reelsense.datasets.labelled import LabelledData

        command(source=LabelledData(data, text_column, label_column), **options)

    return with_source


def require(condition: object, message: str) -> None:
    """Raise a usage error with `message` unless `condition` is true."""
    if not condition:
        raise click.UsageError(message)


def warn_if_unreachable(manifest: Manifest, risk: float | None) -> None:
    """Warn if the model of `manifest` cannot meet the target error rate `risk`; None: its own."""
    from reelsense.inference.calibration import decision_thresholds
    from reelsense.prediction import UNSURE

    thresholds = decision_thresholds(manifest, risk)
    unreachable = [
        group.name
        for group, threshold in zip(manifest.groups, thresholds, strict=True)
        if threshold is None
    ]
    if unreachable:
        rate = (
            "its default target error rate"
            if risk is None
            else f"a target error rate of {risk:.2%}"
        )
        all_groups = len(unreachable) == len(thresholds)
        where = "" if all_groups else f" in length group {', '.join(unreachable)}"
        click.echo(
            f"warning: the model cannot meet {rate}: every verdict{where} is {UNSURE}; choose a "
            "higher --risk",
            err=True,
        )
