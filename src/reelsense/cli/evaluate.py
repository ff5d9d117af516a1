"""The command `reelsense evaluate`."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reelsense.cli import options, table_options
from reelsense.cli.options import require
from reelsense.text.controls import escape_controls

if TYPE_CHECKING:
    from reelsense.bundle import Bundle
    from reelsense.datasets.labelled import LabelledData
    from reelsense.evaluation.evaluate import EvaluationData
    from reelsense.evaluation.explanations import Scores
    from reelsense.evaluation.scorer import Scorer
    from reelsense.report.record import EvaluationRecord

BAG_OF_WORDS = "bag-of-words"


@click.command()
@table_options.labelled_data
@click.option(
    "--split",
    type=click.Choice(["train", "validation", "test", "all"]),
    help="Part of the data. Default: test for the Large Movie Review Dataset, all for a table.",
)
@click.option(
    "--json", "json_file", type=options.PATH, help="Write the metrics as JSON to this file."
)
@click.option(
    "--report",
    type=options.PATH,
    help="Write a report with plots and a model card to this folder.",
)
@click.option(
    "--evaluation-sets",
    "sets_folder",
    type=options.PATH,
    help="Folder with edited reviews, single sentences and audited labels, from `reelsense data "
    "fetch evaluation-sets`.",
)
@click.option(
    "--compare-to",
    help="Another model to compare with: the name of an installed model, the folder of a bundle, "
    f"or {BAG_OF_WORDS}, which is first trained on --data.",
)
@click.option("--quick", is_flag=True, help="Skip robustness, behaviours and fairness.")
@click.option("--explanations", is_flag=True, help="Evaluate explanations too, on 500 texts.")
@click.option(
    "--checkpoint",
    type=options.PATH,
    help="With --explanations: checkpoint of the model, to compare with integrated gradients.",
)
@click.option(
    "--texts/--no-texts",
    default=True,
    help="Include the evaluated texts in the report and the metrics. Use --no-texts for reports "
    "that you publish.",
)
@click.option(
    "--update-card",
    is_flag=True,
    help="Write evaluation.json and the model card to the bundle, without the evaluated texts. The "
    "earlier ones are kept in FOLDER.backup.",
)
@options.force
@options.model
def evaluate(
    source: LabelledData,
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
    force: bool,
    model: str | None,
) -> None:
    """Evaluate a model on labelled texts."""
    _check_output(json_file, report)
    require(not (update_card and quick), "--update-card cannot be combined with --quick")
    require(explanations or not checkpoint, "--checkpoint requires --explanations")

    from reelsense import registry
    from reelsense.bundle import check_target, read_bundle
    from reelsense.evaluation import evaluate as evaluation
    from reelsense.evaluation.unseen import check_unseen
    from reelsense.inference.classifier import Classifier

    folder = registry.find(model)
    if update_card:
        check_target(folder)
        check_target(_backup(folder))
    part = split or source.default_part
    bundle = read_bundle(folder)
    source = source.split_as(bundle.manifest.provenance.get("recipe", {}))
    data = _evaluation_data(source, part, sets_folder)
    if not force:
        check_unseen(bundle, source.title(part), data.reviews)
    other = _other_model(compare_to, source, part) if compare_to else None
    classifier = Classifier(bundle)
    _warn_if_optimistic(bundle, source, part)
    results, predictions = evaluation.evaluate(
        classifier,
        data,
        classifier.manifest.groups,
        evaluation.EvaluationOptions(
            quick=quick,
            compare_to=other,
            explainer=classifier if explanations else None,
            other_explanations=_gradients(checkpoint) if checkpoint else None,
        ),
    )
    record = evaluation.make_record(results, predictions, classifier.manifest, source.title(part))
    _write(
        record if texts else record.without_texts(),
        folder,
        json_file=json_file,
        report=report,
        update_card=update_card,
        on_imdb=source.is_imdb,
        official=source.is_imdb and part == "test",
    )


def _write(
    record: EvaluationRecord,
    folder: Path,
    *,
    json_file: Path | None,
    report: Path | None,
    update_card: bool,
    on_imdb: bool,
    official: bool,
) -> None:
    """Print `record`, and write it to files and to the bundle in `folder` as requested."""
    from reelsense import registry
    from reelsense.bundle import CARD, read_bundle
    from reelsense.evaluation.card import render_card
    from reelsense.evaluation.summary import as_text
    from reelsense.files import write_atomically
    from reelsense.report.page import render_report

    bundle = read_bundle(folder)
    name = registry.published_name(folder)
    card = render_card(record, bundle.manifest, on_imdb=on_imdb, published_as=name)
    head = escape_controls(f"{record.model} {record.version} on {record.data}")
    click.echo(f"{head}\n\n{as_text(record.evaluation)}")
    if report:
        write_atomically(report / "index.html", render_report(record, bundle.manifest))
        write_atomically(report / CARD, card)
        click.echo(f"\nreport: {report / 'index.html'}")
    if json_file:
        write_atomically(json_file, replace(record, plots=()).to_json())
    if update_card:
        _update_bundle(folder, replace(bundle, card=card), record, official=official)
        click.echo(f"\nmodel card: {folder / CARD}\nearlier one: {_backup(folder) / CARD}")


def _update_bundle(
    folder: Path, bundle: Bundle, record: EvaluationRecord, *, official: bool
) -> None:
    """Write `record` to the bundle; the manifest gets the accuracy on the `official` test set.

    The files that this changes are copied first, so that they can be copied back.
    """
    from reelsense.bundle import CARD, EVALUATION, MANIFEST, OfficialTestMetrics, write_bundle

    shutil.rmtree(_backup(folder), ignore_errors=True)
    _backup(folder).mkdir()
    for name in (CARD, EVALUATION, MANIFEST):
        if (folder / name).exists():
            shutil.copy2(folder / name, _backup(folder))

    manifest, metrics = bundle.manifest, record.evaluation.metrics
    if official:
        test = OfficialTestMetrics(reviews=metrics.reviews, accuracy=metrics.accuracy)
        manifest = replace(manifest, metrics=manifest.metrics | {"test": test})
    evaluation = record.without_texts().to_json()
    write_bundle(folder, replace(bundle, manifest=manifest, evaluation=evaluation))


def _backup(folder: Path) -> Path:
    folder = folder.resolve()
    return folder.with_name(f"{folder.name}.backup")


def _gradients(checkpoint: Path) -> tuple[str, Scores]:
    from reelsense.training.attribution import integrated_gradients

    return "integrated gradients", integrated_gradients(checkpoint)


def _check_output(json_file: Path | None, report: Path | None) -> None:
    """Fail now if the output could not be written after an hour of scoring."""
    require(
        not json_file or (json_file.absolute().parent.is_dir() and not json_file.is_dir()),
        f"--json {json_file}: expected a file in an existing folder",
    )
    if not report:
        return
    require(
        not (report / "manifest.json").exists(),
        f"--report {report} is a bundle: choose another folder",
    )
    try:
        report.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise click.UsageError(f"--report {report} is a file: choose a folder") from error


def _warn_if_optimistic(bundle: Bundle, source: LabelledData, part: str) -> None:
    """Warn if the model was calibrated on the data it is evaluated on.

    Also if it was trained on data of that name and its training texts are unknown.
    """
    manifest, is_known = bundle.manifest, bundle.training_texts is not None
    is_training_part = part in ("all", "train") and not is_known
    if is_training_part and manifest.provenance.get("data") == source.name:
        click.echo(
            f"warning: {manifest.name} was trained on {source.name}; these figures are optimistic",
            err=True,
        )
    calibrated_on = [group.calibration.data for group in manifest.groups if group.calibration]
    if any(source.title(part) in data for data in calibrated_on):
        click.echo(
            f"warning: {manifest.name} was calibrated on these texts; its calibration error and "
            "selective error are optimistic",
            err=True,
        )


def _evaluation_data(source: LabelledData, part: str, sets_folder: Path | None) -> EvaluationData:
    from reelsense.datasets.evaluation_sets import EvaluationSets, read_evaluation_sets
    from reelsense.evaluation.evaluate import EvaluationData

    return EvaluationData(
        reviews=source.part(part),
        sets=read_evaluation_sets(sets_folder) if sets_folder else EvaluationSets(),
        training_texts=source.training_texts() if part == "test" else frozenset(),
    )


def _other_model(name: str, source: LabelledData, part: str) -> tuple[str, Scorer]:
    """Return the name and version of the model to compare with, and the model."""
    from reelsense.evaluation.baseline import train_baseline
    from reelsense.inference.classifier import Classifier

    if name != BAG_OF_WORDS:
        other = Classifier.load(name)
        return f"{other.manifest.name} {other.manifest.version}", other
    require(
        part in ("validation", "test"),
        f"--compare-to {BAG_OF_WORDS} is trained on --data: use --split validation",
    )
    return "bag of words", train_baseline(*source.for_training())
