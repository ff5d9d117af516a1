"""The command `reelsense evaluate`."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reelsense.cli import options

if TYPE_CHECKING:
    from reelsense.bundle import Manifest
    from reelsense.datasets.labelled import LabelledData
    from reelsense.evaluation.evaluate import Material
    from reelsense.evaluation.explanations import Scores
    from reelsense.evaluation.report import Report
    from reelsense.evaluation.scorer import Scorer


BAG_OF_WORDS = "bag-of-words"


@click.command()
@options.labelled_data
@click.option(
    "--split",
    type=click.Choice(["train", "validation", "test", "all"]),
    help="By default the dataset's test part, or the whole of a table.",
)
@click.option("--json", "json_file", type=options.PATH, help="Write the figures there as well.")
@click.option(
    "--report",
    type=options.PATH,
    help="A folder to write a page with plots and a model card to.",
)
@click.option(
    "--evaluation-sets",
    "sets_folder",
    type=options.PATH,
    help="Edited reviews, one-liners and audited labels, as `reelsense data fetch "
    "evaluation-sets` brings them.",
)
@click.option(
    "--compare-to",
    help="Another model to compare with: the name of an installed model, the folder of a bundle, "
    f"or {BAG_OF_WORDS}, which is trained on --data first.",
)
@click.option("--quick", is_flag=True, help="Leave out robustness and fairness.")
@click.option(
    "--explanations", is_flag=True, help="Measure whether explanations are true, on 500 reviews."
)
@click.option(
    "--checkpoint",
    type=options.PATH,
    help="With --explanations: the model's checkpoint, to compare with integrated gradients.",
)
@click.option(
    "--texts/--no-texts",
    default=True,
    help="Whether report and figures hold the texts of mistakes; not if you publish them.",
)
@click.option(
    "--update-card",
    is_flag=True,
    help="Put report and card into the bundle too, without the texts of mistakes.",
)
@options.model
def evaluate(
    data: Path,
    text_column: str,
    label_column: str,
    split: str | None,
    json_file: Path | None,
    report: Path | None,
    sets_folder: Path | None,
    compare_to: str | None,
    quick: bool,
    explanations: bool,
    checkpoint: Path | None,
    texts: bool,
    update_card: bool,
    model: str | None,
) -> None:
    """Measure a model on labelled reviews."""
    _check_targets(json_file, report)
    if update_card and quick:
        raise click.UsageError("--update-card needs the whole evaluation, without --quick")

    if checkpoint and not explanations:
        raise click.UsageError("--checkpoint goes with --explanations")

    from reelsense import registry
    from reelsense.bundle import check_target
    from reelsense.datasets.labelled import LabelledData
    from reelsense.evaluation.evaluate import evaluate as measure
    from reelsense.evaluation.evaluate import without_texts
    from reelsense.evaluation.report import Report
    from reelsense.inference.classifier import Classifier

    folder = registry.find(model)
    if update_card:
        check_target(folder)
    source = LabelledData(data, text_column, label_column)
    part = split or source.usual_part
    other = _other(compare_to, source, part) if compare_to else None
    classifier = Classifier.load(folder)
    manifest = classifier.manifest
    _warn_of_flattery(manifest, source, part)
    evaluation, predictions = measure(
        classifier,
        _material(source, part, sets_folder),
        manifest.groups,
        quick=quick,
        against=other,
        explainer=classifier if explanations else None,
        explained_by=_gradients(checkpoint) if checkpoint else None,
    )
    if not texts:
        evaluation = without_texts(evaluation)
    pages = Report(
        manifest=manifest,
        data=source.title(part),
        on_imdb=source.is_imdb,
        published_as=registry.published_name(folder),
        evaluation=evaluation,
        predictions=predictions,
        texts=texts,
    )
    _tell(pages, part, report, json_file)
    if update_card:
        _publish(pages, folder, official=source.is_imdb and part == "test")


def _tell(pages: Report, part: str, report: Path | None, json_file: Path | None) -> None:
    """Print the figures, and write the page and the figures where they are wanted."""
    from reelsense.evaluation.report import write_report
    from reelsense.evaluation.summary import as_text
    from reelsense.files import write_atomically

    manifest, evaluation = pages.manifest, pages.evaluation
    click.echo(f"{manifest.name} {manifest.version} on {pages.data}\n\n{as_text(evaluation)}")
    if report:
        write_report(report, pages)
        click.echo(f"\nthe report: {report / 'index.html'}")
    if json_file:
        about = {"model": {"name": manifest.name, "version": manifest.version}, "split": part}
        write_atomically(json_file, json.dumps(about | asdict(evaluation), indent=2) + "\n")


def _publish(pages: Report, folder: Path, *, official: bool) -> None:
    """Put report and card into the bundle in `folder`, without the texts of reviews.

    If what was measured is the `official` test set, the manifest gets the accuracy as well.
    """
    from reelsense.bundle import CARD, read_bundle, write_bundle
    from reelsense.evaluation.evaluate import without_texts
    from reelsense.evaluation.report import as_card, as_page

    pages = replace(pages, evaluation=without_texts(pages.evaluation), texts=False)
    bundle = replace(read_bundle(folder), card=as_card(pages), report=as_page(pages))
    if official:
        measured = pages.evaluation.metrics
        test = {"reviews": measured.reviews, "accuracy": measured.accuracy}
        metrics = bundle.manifest.metrics | {"test": test}
        bundle = replace(bundle, manifest=replace(bundle.manifest, metrics=metrics))
    write_bundle(folder, bundle)
    click.echo(f"\nthe card: {folder / CARD}")


def _gradients(checkpoint: Path) -> tuple[str, Scores]:
    from reelsense.training.attribution import integrated_gradients

    return "integrated gradients", integrated_gradients(checkpoint)


def _check_targets(json_file: Path | None, report: Path | None) -> None:
    """Raise UsageError now about what could not be written after an hour of scoring."""
    if json_file and (json_file.is_dir() or not json_file.absolute().parent.is_dir()):
        raise click.UsageError(f"--json {json_file}: there is no such folder, or it is one")
    if report and (report / "manifest.json").exists():
        raise click.UsageError(f"--report {report} is a bundle: name another folder")
    if report:
        try:
            report.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise click.UsageError(f"--report {report}: a file is in the way") from error


def _warn_of_flattery(manifest: Manifest, source: LabelledData, part: str) -> None:
    if part in ("all", "train") and manifest.provenance.get("data") == source.name:
        click.echo(f"{manifest.name} has learned from {source.name}: it is flattered", err=True)
    fitted = [group.calibration.data for group in manifest.groups if group.calibration]
    if any(source.title(part) in data for data in fitted):
        click.echo(
            f"the calibration and the thresholds of {manifest.name} were fitted on these reviews: "
            "both are flattered",
            err=True,
        )


def _material(source: LabelledData, part: str, sets_folder: Path | None) -> Material:
    from reelsense.datasets.evaluation_sets import EvaluationSets, read_evaluation_sets
    from reelsense.evaluation.evaluate import Material

    return Material(
        reviews=source.part(part),
        sets=read_evaluation_sets(sets_folder) if sets_folder else EvaluationSets(),
        training_texts=source.training_texts() if part == "test" else frozenset(),
    )


def _other(against: str, source: LabelledData, part: str) -> tuple[str, Scorer]:
    """The model that `against` names, and its name."""
    from reelsense.evaluation.baseline import train_baseline
    from reelsense.inference.classifier import Classifier

    if against != BAG_OF_WORDS:
        other = Classifier.load(against)
        return f"{other.manifest.name} {other.manifest.version}", other
    if part not in ("validation", "test"):
        raise click.UsageError(
            f"--compare-to {BAG_OF_WORDS} learns from --data: compare on --split validation"
        )
    return "bag of words", train_baseline(*source.for_training())
