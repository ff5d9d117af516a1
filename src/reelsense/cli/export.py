"""The command `reelsense export`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reelsense.cli import options, table_options
from reelsense.errors import InputError
from reelsense.files import read_text

if TYPE_CHECKING:
    from reelsense.datasets.labelled import LabelledData


@click.command()
@click.argument("checkpoint", type=options.PATH)
@table_options.labelled_data
@options.validation_sets
@options.default_risk
@click.option("--output", type=options.PATH, required=True, help="Folder for the bundle.")
@options.overwrite
@click.option("--title", default="", help='Title of the page for one text, such as "Which team?".')
@click.option(
    "--unit", default="", help='What a text is, such as "review" or "ticket". Default: "text".'
)
@click.option(
    "--examples",
    "examples_file",
    type=options.PATH,
    help='Texts to try on the page: a JSON file such as {"Short": "A bore."}. Default: one text '
    "of the validation set for each label, which everybody who has the bundle or sees the page can "
    "read.",
)
@click.option("--no-examples", is_flag=True, help="Add no examples to the bundle.")
@click.option(
    "--force",
    is_flag=True,
    help="Export a model that is not clearly better than the majority class, and accept training "
    "texts in the validation set.",
)
def export(
    checkpoint: Path,
    source: LabelledData,
    sets_folder: Path | None,
    default_risk: float | None,
    output: Path,
    overwrite: bool,
    title: str,
    unit: str,
    examples_file: Path | None,
    no_examples: bool,
    force: bool,
) -> None:
    """Convert a checkpoint to a bundle.

    CHECKPOINT is a folder that `reelsense train` wrote, --data the data that it was trained on. The
    bundle has int8 weights. Its predicted labels are compared with those of the checkpoint on the
    validation set; too many differences are an error.
    """
    from reelsense.bundle import check_target, read_bundle
    from reelsense.evaluation.calibrate import sentence_set
    from reelsense.training import export as exporter
    from reelsense.training.checkpoint import read_classifier_metadata

    check_target(output, overwrite=overwrite)
    options.require(
        not (no_examples and examples_file), "--examples cannot be combined with --no-examples"
    )
    examples = {} if no_examples else _read_examples(examples_file) if examples_file else None
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
        default_risk=default_risk,
        presentation=exporter.Presentation(title, unit, examples),
        force=force,
    )
    click.echo(
        f"{output}: same label as the checkpoint on {parity.agreement:.2%} of {parity.reviews} "
        f"validation texts; accuracy {parity.accuracy_int8:.2%}, before int8 "
        f"{parity.accuracy_fp32:.2%}"
    )
    manifest = read_bundle(output).manifest
    if examples is None and manifest.examples:
        names = ", ".join(manifest.examples)
        click.echo(f"examples from the validation set, for the page: {names} (see --no-examples)")
    options.warn_if_always_unsure(manifest)


def _read_examples(path: Path) -> dict[str, str]:
    """Return the examples in a JSON file. Raises InputError (`invalid-examples`)."""
    content = read_text(path, InputError)
    try:
        examples = json.loads(content)
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}", code="invalid-examples") from error
    if not isinstance(examples, dict) or not all(isinstance(t, str) for t in examples.values()):
        raise InputError(
            f'{path} contains no examples: expected an object such as {{"Short": "A bore."}}',
            code="invalid-examples",
        )
    return examples
