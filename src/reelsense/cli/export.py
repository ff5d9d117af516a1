"""The command `reelsense export`."""

from __future__ import annotations

from pathlib import Path

import click

from reelsense.cli import options


@click.command()
@click.argument("checkpoint", type=options.PATH)
@options.labelled_data
@options.validation_sets
@click.option("--output", type=options.PATH, required=True, help="Folder for the bundle.")
def export(
    checkpoint: Path,
    data: Path,
    text_column: str,
    label_column: str,
    sets_folder: Path | None,
    output: Path,
) -> None:
    """Turn a checkpoint into a bundle, ready to serve.

    The bundle is int8, and checked against CHECKPOINT, the folder that `reelsense train` wrote.
    --data is the data it was trained on.
    """
    from reelsense.datasets.labelled import LabelledData
    from reelsense.evaluation.calibrate import sentence_set
    from reelsense.training.export import export as pack

    source = LabelledData(data, text_column, label_column)
    split, labels = source.for_training()
    more = [sentence_set(sets_folder)] if sets_folder else []
    parity = pack(checkpoint, split.validation, labels, output, data=source.name, calibrate_on=more)
    click.echo(
        f"{output}: the label of the checkpoint on {parity.agreement:.2%} of {parity.reviews} "
        f"held-out reviews; accuracy {parity.accuracy_int8:.2%}, before int8 "
        f"{parity.accuracy_fp32:.2%}"
    )
