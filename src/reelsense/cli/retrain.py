"""The command `reelsense retrain`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import nullcontext, redirect_stdout
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import shorten
from typing import TYPE_CHECKING, Any

import click

from reelsense.cli import options
from reelsense.cli.output import STDOUT, json_output, write_result
from reelsense.cli.train import run_training, training_options
from reelsense.text.controls import escape_controls

if TYPE_CHECKING:
    from reelsense.bundle import Manifest
    from reelsense.datasets.feedback import TrainingFeedback
    from reelsense.model_directory import ModelDirectory
    from reelsense.training.sources import TrainingData

_MAX_TEXT = 100  # characters of a text in a message


@click.command(short_help="Train a challenger with feedback.")
@options.models_directory
@click.option(
    "--feedback",
    "feedback_file",
    type=options.PATH,
    required=True,
    help="Table of feedback (text, label), such as a file of `reelsense feedback export`.",
)
@click.option(
    "--feedback-weight",
    type=click.FloatRange(0, min_open=True),
    default=4.0,
    show_default=True,
    help="How often an epoch has each text with feedback, unless the recipe sets it.",
)
@training_options
@options.default_risk
@click.option(
    "--force",
    is_flag=True,
    help="Export a model that is not clearly better than the majority class.",
)
@json_output
def retrain(
    directory: ModelDirectory,
    feedback_file: Path,
    feedback_weight: float,
    default_risk: float | None,
    force: bool,
    json_file: Path | None,
    **arguments: Any,
) -> None:
    """Train a model on labelled texts and feedback; it becomes the challenger.

    The options are those of `reelsense train`. A fifth of the feedback, chosen by a hash of the
    text, is not trained on: `reelsense models promote --feedback` compares models on it. In other
    training data, texts with feedback are left out. Name, title and unit of the model are those of
    the champion.
    """
    from reelsense.datasets.feedback import read_feedback
    from reelsense.model_directory import CHALLENGER

    with redirect_stdout(sys.stderr) if json_file == STDOUT else nullcontext():
        feedback = read_feedback(feedback_file, _print)
        for line in _describe(feedback):
            _print(line)
        champion = _champion(directory)
        if champion:
            arguments["name"] = arguments["name"] or champion.name
        data, processes = run_training(
            feedback=feedback,
            feedback_weight=feedback_weight,
            expected_labels=champion.labels if champion else (),
            **arguments,
        )
        version = None
        if processes.is_main:
            with TemporaryDirectory(prefix="reelsense-") as folder:
                bundle = Path(folder) / "bundle"
                _export(data, arguments["output"], bundle, champion, default_risk, force)
                version = directory.add(bundle, CHALLENGER)
        processes.shut_down()
    if version:
        result = {
            "version": version,
            "aliases": directory.aliases_of(version),
            "feedback": {
                "train": len(feedback.train),
                "held_out": len(feedback.held_out),
                "duplicates": feedback.duplicates,
                "conflicts": [asdict(conflict) for conflict in feedback.conflicts],
            },
        }
        write_result(json_file, result, f"challenger: {version}")


def _champion(directory: ModelDirectory) -> Manifest | None:
    """Return the manifest of the champion, if there is one."""
    from reelsense.model_directory import CHAMPION

    if CHAMPION not in directory.aliases():
        return None
    return directory.read(directory.find(CHAMPION)).manifest


def _export(
    data: TrainingData,
    checkpoint: Path,
    bundle: Path,
    champion: Manifest | None,
    default_risk: float | None,
    force: bool,
) -> None:
    """Export the `checkpoint` of `data` to a `bundle` that is presented like the champion."""
    from reelsense.evaluation.calibrate import sentence_set
    from reelsense.training.export import Presentation, export

    presentation = Presentation()
    if champion:
        examples = champion.examples or None
        presentation = Presentation(champion.title, champion.unit, examples)
    export(
        checkpoint,
        data.split.validation,
        data.labels,
        bundle,
        data=data.source.name,
        calibrate_on=[sentence_set(data.evaluation_sets)] if data.evaluation_sets else [],
        default_risk=default_risk,
        presentation=presentation,
        force=force,
    )


def _describe(feedback: TrainingFeedback) -> Iterator[str]:
    """Yield lines about `feedback`; the conflicts one by one."""
    yield (
        f"feedback: {len(feedback.train):,} texts to train on, {len(feedback.held_out):,} held "
        f"out, {feedback.duplicates:,} duplicates left out"
    )
    for conflict in feedback.conflicts:
        text = shorten(conflict.text, _MAX_TEXT, placeholder=" ...")
        yield f"left out, with the labels {' and '.join(conflict.labels)}: {text}"


def _print(line: str) -> None:
    click.echo(escape_controls(line))
