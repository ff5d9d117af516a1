"""The command `reelsense cascade`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from reelsense.cli import options, table_options

if TYPE_CHECKING:
    from reelsense.datasets.labelled import LabelledData


@click.command(short_help="Combine a fast and an accurate model.")
@table_options.labelled_data
@table_options.split
@options.validation_sets
@click.option("--first", default="default", show_default=True, help="The fast model.")
@click.option("--second", default="accurate", show_default=True, help="The accurate model.")
@click.option(
    "--margin",
    type=click.FloatRange(0, 1),
    default=0.001,
    show_default=True,
    help="Loss of accuracy on the validation set, compared with the accurate model alone.",
)
@click.option("--name", default="cascade", show_default=True, help="Name of the new model.")
@options.default_risk
@click.option("--output", type=options.PATH, required=True, help="Folder of the new bundle.")
@options.overwrite
@options.force
def cascade(
    source: LabelledData,
    split: str,
    sets_folder: Path | None,
    first: str,
    second: str,
    margin: float,
    name: str,
    default_risk: float | None,
    output: Path,
    overwrite: bool,
    force: bool,
) -> None:
    """Combine two models, the second of which scores the texts that the first finds difficult.

    Finds the lowest confidence of the first model at which the accuracy on labelled texts stays
    close to that of the second one alone, and writes a small bundle that refers to both models by
    their hashes. Both must be installed where it is used.
    """
    from reelsense import registry
    from reelsense.bundle import check_target, read_bundle, write_bundle
    from reelsense.evaluation.cascade import make_cascade
    from reelsense.evaluation.summary import calibration_as_text

    check_target(output, overwrite=overwrite)
    models = (
        (first, read_bundle(registry.find(first))),
        (second, read_bundle(registry.find(second))),
    )
    sets = table_options.validation_data(source, split, sets_folder, models[0][1].manifest)
    bundle, fit = make_cascade(
        name, models, sets, margin=margin, default_risk=default_risk, force=force
    )
    manifest = write_bundle(output, bundle)
    click.echo(
        f"{output}: {manifest.name} {manifest.version}\n"
        f"{second} scores the texts to which {first} assigns a probability of at most "
        f"{fit.threshold:.4f}: {fit.second_share:.1%} of {fit.texts:,} {manifest.nouns}\n"
        f"accuracy {fit.accuracy:.2%} ({first} {fit.accuracy_first:.2%}, {second} "
        f"{fit.accuracy_second:.2%}, p {fit.p_value:.2g})\n{calibration_as_text(manifest)}"
    )
    options.warn_if_always_unsure(manifest)
