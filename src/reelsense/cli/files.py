"""Score a file of texts, row by row: what goes in comes out, with the answers beside it.

Memory does not grow with the file. A bad row gets an error and the rest goes on.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from io import TextIOWrapper
from itertools import chain, islice
from pathlib import Path
from typing import IO, BinaryIO

import click
from tqdm import tqdm

from reelsense.bundle import Manifest
from reelsense.cli.explaining import as_dict, strongest
from reelsense.datasets.tables import SUFFIXES, Row, rows
from reelsense.datasets.writing import KINDS, writer
from reelsense.errors import DatasetError, TextError
from reelsense.files import atomic
from reelsense.inference.classifier import Classifier
from reelsense.inference.rows import Answer, Predict, added_columns, answer_rows
from reelsense.prediction import Explanation

_STEP = 256
"""Rows read, scored and written at a time."""

_STEP_EXPLAINED = 8
"""The same where each takes a fifth of a second."""


def score_file(
    classifier: Classifier,
    source: Path,
    output: Path | None,
    column: str,
    risk: float | None = None,
    *,
    explain: bool = False,
) -> None:
    """Add label, score, positive, verdict and stars to every row of `source` ("-": standard input).

    With `explain`, because (the sentence that speaks most for the answer) and explanation (all of
    it; in a table, as JSON) too.

    Writes to `output`, which appears when it is whole, or to standard output. Where the input
    already has a column of that name, ours is called predicted_label and so on. Raises
    DatasetError if a file cannot be used.
    """
    suffix = ".txt" if str(source) == "-" else source.suffix.lower()
    kind = output.suffix.lower() if output else {".txt": ".csv"}.get(suffix, suffix)
    _check(source, suffix, output, kind)
    column = "text" if suffix == ".txt" else column
    predict: Predict = partial(classifier.predict_each, risk=risk)
    if explain:
        predict = partial(_explain_each, classifier, risk)
    rows_at_once = _STEP_EXPLAINED if explain else _STEP
    failed = 0
    target = nullcontext(sys.stdout) if output is None else atomic(output)
    with _lines(source) as (lines, bar), target as file:
        output_table = writer(file, kind)
        remaining = rows(lines, suffix, name=str(source))
        if suffix in (".csv", ".tsv"):
            remaining = _with_column(remaining, column, source)
        while step := list(islice(remaining, rows_at_once)):
            answers = answer_rows(predict, step, column)
            for row, answer in zip(step, answers, strict=True):
                output_table.write(
                    row,
                    _added(
                        answer, str(row.values.get(column)), classifier.manifest, explain=explain
                    ),
                )
            failed += sum(isinstance(answer, str) for answer in answers)
            bar(len(step))
    if failed:
        number = "1 row" if failed == 1 else f"{failed:,} rows"
        click.echo(f"{number} could not be scored: see the column error", err=True)


def _check(source: Path, suffix: str, output: Path | None, kind: str) -> None:
    if suffix not in SUFFIXES:
        raise DatasetError(f"{source}: not one of {', '.join(SUFFIXES)}")
    if kind not in KINDS:
        raise DatasetError(f"{output}: the output is a .csv, .tsv or .jsonl file")
    if output and not output.absolute().parent.is_dir():
        raise DatasetError(f"{output}: there is no such folder")
    if suffix == ".jsonl" and kind != ".jsonl":
        raise DatasetError(f"{output}: rows of .jsonl may differ in their keys; write a .jsonl")


def _with_column(table: Iterator[Row], column: str, source: Path) -> Iterator[Row]:
    """Return `table`. Raises DatasetError if its columns do not include `column`."""
    first = next(table, None)
    if first is None:
        return table
    if column not in first.values:
        columns = ", ".join(map(repr, first.values))
        if len(first.values) == 1 and ";" in columns:
            columns += " (columns are to be separated by commas)"
        raise DatasetError(f"{source}: no column {column!r}; pass --column, one of {columns}")
    return chain([first], table)


@contextmanager
def _lines(source: Path) -> Iterator[tuple[IO[str], Callable[[int], object]]]:
    """Open `source` with a progress bar: in bytes where the size is known, else in rows."""
    try:
        raw = sys.stdin.buffer if str(source) == "-" else source.open("rb")
    except OSError as error:
        raise DatasetError(f"{source} cannot be read: {error.strerror}") from error
    size = _size(raw)
    bytes_or_rows = {"total": size, "unit": "B", "unit_scale": True} if size else {"unit": " rows"}
    with (
        TextIOWrapper(raw, encoding="utf-8-sig", errors="surrogateescape", newline="") as lines,
        tqdm(**bytes_or_rows, disable=None) as bar,
    ):
        yield lines, lambda rows: bar.update(raw.tell() - bar.n if size else rows)


def _size(raw: BinaryIO) -> int | None:
    """Bytes in `raw`; None for a pipe, a terminal and the like."""
    try:
        return os.fstat(raw.fileno()).st_size if raw.seekable() else None
    except OSError:
        return None


def _explain_each(
    classifier: Classifier, risk: float | None, texts: Sequence[str]
) -> list[Explanation | TextError]:
    answers: list[Explanation | TextError] = []
    for text in texts:
        try:
            answers.append(classifier.explain(text, risk=risk))
        except TextError as error:
            answers.append(error)
    return answers


def _added(answer: Answer, text: str, manifest: Manifest, *, explain: bool) -> dict[str, object]:
    """The columns that are added to the row of `text`."""
    shown = added_columns(manifest)
    why: dict[str, object] = dict.fromkeys(["because", "explanation"] if explain else [])
    if isinstance(answer, str):
        return dict.fromkeys(shown) | why | {"error": answer}
    if isinstance(answer, Explanation):
        why = {"because": strongest(text, answer), "explanation": as_dict(text, answer)}
        answer = answer.prediction
    return {name: getattr(answer, name) for name in shown} | why | {"error": None}
