"""The command `reelsense calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from reelsense.cli import options, table_options

if TYPE_CHECKING:
    from reelsense.datasets.labelled import LabelledData


@click.command(short_help="Fit calibration and decision thresholds.")
@table_options.labelled_data
@table_options.split
@options.validation_sets
@options.default_risk
@click.option(
    "--profile-only",
    is_flag=True,
    help="Keep the calibration and the thresholds: only write the reference profile, with which "
    "`reelsense drift` and the server compare other texts.",
)
@click.option("--output", type=options.PATH, required=True, help="Folder of the new bundle.")
@options.overwrite
@options.force
@options.model
def calibrate(
    source: LabelledData,
    split: str,
    sets_folder: Path | None,
    default_risk: float | None,
    profile_only: bool,
    output: Path,
    overwrite: bool,
    force: bool,
    model: str | None,
) -> None:
    """Fit the calibration and the decision thresholds of a model, and write a new bundle.

    Needs labelled texts that the model was not trained on. `reelsense export` calibrates too.
    Single sentences, short and long texts are calibrated separately if there are enough of each.
    The bundle also gets a reference profile of the texts.
    """
    options.require(
        not (profile_only and (sets_folder or default_risk)),
        "--profile-only cannot be combined with --evaluation-sets or --default-risk",
    )
    from reelsense import registry
    from reelsense.bundle import EVALUATION, check_target, read_bundle, write_bundle
    from reelsense.evaluation.calibrate import calibrate as fit
    from reelsense.evaluation.profile import add_profile
    from reelsense.evaluation.summary import calibration_as_text
    from reelsense.inference.classifier import Classifier

    check_target(output, overwrite=overwrite)
    bundle = read_bundle(registry.find(model))
    sets_folder = None if profile_only else sets_folder
    sets = table_options.validation_data(source, split, sets_folder, bundle.manifest)
    if profile_only:
        name, reviews = sets[0].name, sets[0].reviews
        profiled = add_profile(bundle, Classifier(bundle), name, reviews, force=force)
        manifest = write_bundle(output, profiled)
        click.echo(f"{output}: {manifest.name} {manifest.version} with a reference profile")
        return
    calibrated = fit(bundle, Classifier(bundle), sets, default_risk=default_risk, force=force)
    if bundle.evaluation and not calibrated.evaluation:
        click.echo(
            f"note: {output} has no {EVALUATION}: that of {bundle.manifest.name} "
            f"{bundle.manifest.version} describes its earlier calibration; run `reelsense evaluate "
            "--update-card` for a new one",
            err=True,
        )
    manifest = write_bundle(output, calibrated)
    click.echo(f"{output}: {manifest.name} {manifest.version}\n{calibration_as_text(manifest)}")
    options.warn_if_always_unsure(manifest)
