"""Score a file of texts, row by row: what goes in comes out, with the answers beside it.

Memory does not grow with the file. A bad row gets an error and the rest goes on.
"""

from __future__ import annotations

import csv
import json
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
from reelsense.errors import DatasetError, TextError
from reelsense.files import atomic
from reelsense.inference.classifier import Classifier
from reelsense.prediction import Explanation, Prediction
from reelsense.review import LONE_SURROGATE

_STEP = 256
"""Rows read, scored and written at a time."""

_STEP_EXPLAINED = 8
"""The same where each takes a fifth of a second."""

_Answer = Prediction | Explanation | TextError
_Predict = Callable[[list[str]], Sequence[_Answer]]


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
    predict: _Predict = partial(classifier.predict_each, risk=risk)
    if explain:
        predict = partial(_explain_each, classifier, risk)
    rows_at_once = _STEP_EXPLAINED if explain else _STEP
    failed = 0
    target = nullcontext(sys.stdout) if output is None else atomic(output)
    with _lines(source) as (lines, bar), target as file:
        writer = _Json(file) if kind == ".jsonl" else _Csv(file, "\t" if kind == ".tsv" else ",")
        remaining = rows(lines, suffix, name=str(source))
        if suffix in (".csv", ".tsv"):
            remaining = _with_column(remaining, column, source)
        while step := list(islice(remaining, rows_at_once)):
            answers = _answers(predict, step, column)
            for row, answer in zip(step, answers, strict=True):
                writer.write(
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
    if kind not in (".csv", ".tsv", ".jsonl"):
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
) -> list[_Answer]:
    answers: list[_Answer] = []
    for text in texts:
        try:
            answers.append(classifier.explain(text, risk=risk))
        except TextError as error:
            answers.append(error)
    return answers


def _answers(
    predict: _Predict, step: Sequence[Row], column: str
) -> list[Prediction | Explanation | str]:
    """Return an answer for each row, or what is wrong with it."""
    answers: list[Prediction | Explanation | str] = [_fault(row, column) for row in step]
    good = [n for n, fault in enumerate(answers) if not fault]
    texts = [str(step[n].values[column]) for n in good]
    for n, answer in zip(good, predict(texts), strict=True):
        answers[n] = answer.reason if isinstance(answer, TextError) else answer
    return answers


def _fault(row: Row, column: str) -> str:
    """What is wrong with `row`; blank if nothing is."""
    if row.error:
        return row.error
    if column not in row.values:
        return f"no {column!r} here; there are: {', '.join(row.values)}"
    value = row.values[column]
    if not isinstance(value, str):
        return f"{column!r} is not a text but {json.dumps(value)[:40]}"
    return "" if value.strip() else f"{column!r} is blank"


def _added(
    answer: Prediction | Explanation | str, text: str, manifest: Manifest, *, explain: bool
) -> dict[str, object]:
    """The columns that are added to the row of `text`."""
    shown = [
        "label",
        "score",
        *(["positive"] if "positive" in manifest.labels else []),
        "verdict",
        *(["stars"] if manifest.ratings else []),
    ]
    why: dict[str, object] = dict.fromkeys(["because", "explanation"] if explain else [])
    if isinstance(answer, str):
        return dict.fromkeys(shown) | why | {"error": answer}
    if isinstance(answer, Explanation):
        why = {"because": strongest(text, answer), "explanation": as_dict(text, answer)}
        answer = answer.prediction
    return {name: getattr(answer, name) for name in shown} | why | {"error": None}


class _Json:
    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, row: Row, added: dict[str, object]) -> None:
        present = {name: value for name, value in added.items() if value is not None}
        line = json.dumps(row.values | _renamed(present, row.values), ensure_ascii=False)
        if LONE_SURROGATE.search(line):  # no UTF-8 can carry these; JSON's escapes can
            line = json.dumps(json.loads(line))
        self._file.write(line + "\n")


class _Csv:
    """The first row decides the columns."""

    def __init__(self, file: IO[str], delimiter: str) -> None:
        self._file, self._delimiter = file, delimiter
        self._writer: csv.DictWriter[str] | None = None

    def write(self, row: Row, added: dict[str, object]) -> None:
        if self._writer is None:
            columns = [*row.values, *_renamed(added, row.values)]
            self._columns = dict(zip(added, columns[len(row.values) :], strict=True))
            self._writer = csv.DictWriter(self._file, columns, delimiter=self._delimiter)
            self._writer.writeheader()
        answers = {self._columns[name]: _cell(value) for name, value in added.items()}
        values = {name: _cell(str(value)) for name, value in row.values.items()}
        self._writer.writerow(values | answers)


def _cell(value: object) -> object:
    """What a table holds of `value`."""
    if isinstance(value, dict):
        return json.dumps(value)
    return LONE_SURROGATE.sub("\ufffd", value) if isinstance(value, str) else value


def _renamed(added: dict[str, object], taken: dict[str, object]) -> dict[str, object]:
    return {_free_name(name, taken): value for name, value in added.items()}


def _free_name(name: str, taken: dict[str, object]) -> str:
    return _free_name(f"predicted_{name}", taken) if name in taken else name
