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
@options.default_risk
@click.option("--output", type=options.PATH, required=True, help="Folder for the bundle.")
@options.overwrite
def export(
    checkpoint: Path,
    source: LabelledData,
    sets_folder: Path | None,
    default_risk: float | None,
    output: Path,
    overwrite: bool,
) -> None:
    """Convert a checkpoint to a bundle.

    CHECKPOINT is a folder that `reelsense train` wrote, --data the data that it was trained on. The
    bundle has int8 weights. Its predicted labels are compared with those of the checkpoint on the
    validation set; too many differences are an error.
    """
    from reelsense.bundle import check_target, read_bundle
    from reelsense.evaluation.calibrate import sentence_set
    from reelsense.training import export as exporter

    check_target(output, overwrite=overwrite)
    split, labels = source.for_training()
    calibrate_on = [sentence_set(sets_folder)] if sets_folder else []
    parity = exporter.export(
        checkpoint,
        split.validation,
        labels,
        output,
        data=source.name,
        calibrate_on=calibrate_on,
        default_risk=default_risk,
    )
    click.echo(
        f"{output}: same label as the checkpoint on {parity.agreement:.2%} of {parity.reviews} "
        f"validation reviews; accuracy {parity.accuracy_int8:.2%}, before int8 "
        f"{parity.accuracy_fp32:.2%}"
    )
    options.warn_if_always_unsure(read_bundle(output).manifest)
