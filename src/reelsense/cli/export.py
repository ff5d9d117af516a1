"""The command `reelsense export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from reelsense.cli import options

if TYPE_CHECKING:
    from reelsense.datasets.labelled import LabelledData


@click.command()
@click.argument("checkpoint", type=options.PATH)
@options.labelled_data
@options.validation_sets
@click.option("--output", type=options.PATH, required=True, help="Folder for the bundle.")
@click.option(
    "--force",
    is_flag=True,
    help="Export a model that is not clearly better than the majority class, and accept training "
    "texts in the validation set.",
)
def export(
    checkpoint: Path, source: LabelledData, sets_folder: Path | None, output: Path, force: bool
) -> None:
    """Convert a checkpoint to a bundle.

    CHECKPOINT is a folder that `reelsense train` wrote, --data the data that it was trained on. The
    bundle has int8 weights. Its predicted labels are compared with those of the checkpoint on the
    validation set; too many differences are an error.
    """
    from reelsense.evaluation.calibrate import sentence_set
    from reelsense.training import export as exporter
    from reelsense.training.checkpoint import read_classifier_metadata

    source = source.split_as(read_classifier_metadata(checkpoint)["recipe"])
    split, labels = source.for_training()
    calibrate_on = [sentence_set(sets_folder)] if sets_folder else []
    parity = exporter.export(
        checkpoint,
        split.validation,
        labels,
        output,
        data=source.name,
        calibrate_on=calibrate_on,
        force=force,
    )
    click.echo(
        f"{output}: same label as the checkpoint on {parity.agreement:.2%} of {parity.reviews} "
        f"validation reviews; accuracy {parity.accuracy_int8:.2%}, before int8 "
        f"{parity.accuracy_fp32:.2%}"
    )
