"""The command `reelsense drift`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reelsense.cli import options, table_options
from reelsense.cli.output import json_output, table, write_result
from reelsense.text.controls import escape_controls

if TYPE_CHECKING:
    from reelsense.drift.report import DriftReport
    from reelsense.tables.reading import ReadOptions

_HEADER = ("measure", "alert", "effect", "p-value", "reference", "current")
_BATCH = 128  # texts per update of the progress bar


@click.command(short_help="Compare the texts of a file with those the model was validated on.")
@click.argument("file")
@click.option(
    "--column",
    help="Text column of a table: its name or number. Default: the only column, or one with a "
    "usual name such as text or review.",
)
@click.option(
    "--max-texts",
    type=click.IntRange(1),
    default=1000,
    show_default=True,
    help="Texts to compare; of more, a random sample.",
)
@table_options.reading
@json_output
@options.model
def drift(
    file: str,
    column: str | None,
    max_texts: int,
    json_file: Path | None,
    model: str | None,
    reading: Callable[[str], ReadOptions],
) -> None:
    """Compare the texts of FILE with those that the model was validated on.

    FILE is a table, a folder, a URL or - for standard input, as for --input of `reelsense predict`.
    Reports the differences, an alert level (none, warning or alarm), and the accuracy that the
    model expects on these texts.
    """
    from tqdm import tqdm

    from reelsense.bulk.sample import sample_texts
    from reelsense.drift.profile import parse, prediction_rows
    from reelsense.drift.report import compare
    from reelsense.inference.classifier import Classifier
    from reelsense.prediction import Prediction

    classifier = Classifier.load(model)
    texts = sample_texts(
        file,
        classifier.manifest,
        max_texts,
        column=column,
        options=reading(file),
        on_message=lambda message: click.echo(escape_controls(message), err=True),
    )
    reference = parse(classifier.profile, classifier.labels) if classifier.profile else None
    pairs: list[tuple[str, Prediction]] = []
    with tqdm(total=len(texts), unit=" texts", desc="scoring", disable=None) as bar:
        for start in range(0, len(texts), _BATCH):
            batch = texts[start : start + _BATCH]
            answers = zip(batch, classifier.predict_each(batch), strict=True)
            pairs += [(text, answer) for text, answer in answers if isinstance(answer, Prediction)]
            bar.update(len(batch))
    rows = prediction_rows(
        classifier.manifest, [text for text, _ in pairs], [answer for _, answer in pairs]
    )
    report = compare(classifier.manifest, reference, rows)
    write_result(json_file, asdict(report), *_lines(report))


def _lines(report: DriftReport) -> Iterator[str]:
    yield f"{report.alert}: {report.reason}"
    yield f"texts: {report.texts:,}, validation texts: {report.reference_texts:,}"
    if report.measures:
        yield from table([_HEADER, *(measure.cells() for measure in report.measures)])
    if accuracy := report.estimated_accuracy:
        yield f"estimated accuracy: {accuracy}"
