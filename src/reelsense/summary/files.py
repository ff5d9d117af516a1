"""Summarize a file. One that `reelsense predict` has not scored is scored first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain, islice

from reelsense.bulk.locations import find_inputs, is_one_file
from reelsense.bulk.rows import EXPLAINED, Answer, answer_rows
from reelsense.errors import DatasetError, InputError, TextError
from reelsense.inference.aspects import has_aspects
from reelsense.inference.call_context import CallContext
from reelsense.inference.classifier import Classifier
from reelsense.prediction import UNSURE, Prediction
from reelsense.summary.aspects import MAX_SAMPLE, Mention, find_mentions
from reelsense.summary.columns import ColumnEncoder
from reelsense.summary.notable import MAX_EXCERPT, ReadRow
from reelsense.summary.results import Summary
from reelsense.summary.scored import ScoredRows
from reelsense.summary.summarize import ScoredTable, summarize
from reelsense.tables.reading import JSON, ReadOptions, file_format_of, open_table
from reelsense.tables.row import Columns, Row, quoted, row_text
from reelsense.tables.writing import as_string
from reelsense.text.clean import printable

_REQUIRED = ("label", "score", "verdict")  # columns of every scored file
_ADDED = (*_REQUIRED, "positive", "stars", "error", *EXPLAINED)
_BINARY = ("negative", "positive")
_BATCH_ROWS = 64
_FIRST_ROWS = 1000  # rows of JSON that are read to find the columns


@dataclass(frozen=True, slots=True)
class FileSummary:
    """The summary of a file."""

    summary: Summary
    was_scored: bool
    """Whether the file contains the predictions."""


def summarize_file(
    path: str,
    load: Callable[[], Classifier],
    *,
    options: ReadOptions,
    column: str | None = None,
    risk: float | None = None,
    group_column: str | None = None,
    aspects: bool = True,
    on_rows: Callable[[int], object] = lambda _: None,
) -> FileSummary:
    """Return the summary of the table at `path`.

    If it has the columns that `reelsense predict` adds, it is not scored again.

    Args:
        path: A file or a URL.
        load: Loads the model: for a file that is not scored, and for aspects.
        options: How the file is written.
        column: Name or number (from 1) of the column with the texts; None: one with a usual name.
        risk: The target error rate; None: that of the model.
        group_column: The column to group by; None: a suitable one.
        aspects: Whether to search aspects.
        on_rows: Called with the number of rows so far.

    Raises:
        DatasetError: The file cannot be read, has no rows, or has invalid predictions.
        InputError: The file has no such column to group by.
        BundleError: The model cannot be loaded.
    """

    def predict(texts: Sequence[str]) -> Sequence[Prediction | TextError]:
        return load().predict_each(texts, risk=risk)

    with _opened(path, column, options) as source:
        table = _ReadTable(source)
        while batch := list(islice(source.rows, _BATCH_ROWS)):
            if source.added:
                predictions = [_stored(row, source) for row in batch]
            else:
                predictions = list(map(_predicted, answer_rows(predict, batch, source.column)))
            table.add(batch, predictions)
            on_rows(len(table.rows))
    labels = table.labels() if source.added else load().labels
    if not table.rows or not labels:
        raise DatasetError(
            f"{path}: no row has a prediction" if table.rows else f"{path} contains no rows",
            code="no-predictions" if table.rows else "no-rows",
        )
    encoded = {encoded.name: encoded for encoded in table.encoder.columns()}
    if group_column is not None and group_column not in encoded:
        raise InputError(
            f"no column {group_column[:100]!r} to group by; expected one of "
            f"{quoted(list(encoded)) or 'none'}",
            code="no-such-column",
        )
    searches = aspects and has_aspects(labels) and has_aspects(load().labels)
    contents = ScoredTable(
        scored=table.scored(labels),
        kinds={name: encoded[name].kind for name in encoded},
        load=encoded.__getitem__,
        mentions=table.mentions(predict) if searches else None,
        step=table.step,
        read=lambda numbers: {n: row for n in numbers if (row := table.rows[n])},
    )
    return FileSummary(summarize(contents, None, group_column), was_scored=bool(source.added))


@dataclass(frozen=True, slots=True)
class _Source:
    """A table that is open."""

    path: str
    column: str  # with the texts
    added: Mapping[str, str]  # names of the columns with predictions; empty: not scored
    rows: Iterator[Row]


@contextmanager
def _opened(path: str, column: str | None, options: ReadOptions) -> Iterator[_Source]:
    files, _ = find_inputs(path, None, options.input_format)
    if not is_one_file(path, files):
        raise DatasetError(f"{path} is not a file: pass one table", code="not-a-file")
    with open_table(files[0], options) as table:
        rows: Iterator[Row] = (row for row, _ in table.rows)
        columns = table.columns
        suffix = (options.input_format or file_format_of(path)).suffix
        if columns is None:
            first = list(islice(rows, _FIRST_ROWS))
            columns = Columns(tuple(dict.fromkeys(name for row in first for name in row.values)))
            rows = chain(first, rows)
        if not columns.header:
            raise DatasetError(f"{path} contains no rows", code="no-rows")
        is_nested = suffix in JSON and (column or "").partition(".")[0] in columns.names
        chosen = column if column and is_nested else columns.choose(column, path)
        yield _Source(path, chosen, _added_columns(columns.names), rows)


def _added_columns(names: Sequence[str]) -> dict[str, str]:
    """Return the names of the columns that `reelsense predict` has added; empty: it has not."""
    added = {
        name: max(matches, key=len)  # predicted_label rather than a label of the user
        for name in _ADDED
        if (matches := [other for other in names if other in (name, f"predicted_{name}")])
    }
    return added if added.keys() >= set(_REQUIRED) else {}


def _stored(row: Row, source: _Source) -> ReadRow | None:
    """Return the prediction in a row of a scored file. Raises DatasetError if it is invalid."""
    values = {name: as_string(row.values.get(key)) for name, key in source.added.items()}
    label, verdict = values["label"], values["verdict"]
    if row.error or not (label or verdict):
        return None
    try:
        score, stars = float(values["score"]), values.get("stars")
        rating = float(stars) if stars else None
        is_valid = verdict in (label, UNSURE) and 0 <= score <= 1 and 1 <= (rating or 1) <= 10
    except ValueError:
        is_valid = False
    if not is_valid:
        raise DatasetError(
            f"{source.path}, line {row.line}: invalid prediction (label {label[:100]!r}, verdict "
            f"{verdict[:100]!r}, score {values['score'][:100]!r}): expected the columns that "
            "`reelsense predict` writes; rename yours, to score the file",
            code="invalid-prediction",
        )
    return ReadRow("", verdict, label, score, rating)


def _predicted(answer: Answer) -> ReadRow | None:
    if not isinstance(answer, Prediction):
        return None
    return ReadRow("", answer.verdict, answer.label, answer.score, answer.stars)


class _ReadTable:
    """The rows of a table so far."""

    def __init__(self, source: _Source) -> None:
        self._column, self._added = source.column, set(source.added.values())
        self.encoder = ColumnEncoder(source.column)
        self.rows: list[ReadRow | None] = []  # None: not scored
        self.step = 1
        self._sample: dict[int, str] = {}  # texts of every `step`th row

    def add(self, rows: Sequence[Row], predictions: Sequence[ReadRow | None]) -> None:
        """Add the next rows and their predictions, which have no texts yet."""
        for row, prediction in zip(rows, predictions, strict=True):
            n = len(self.rows)
            others = {name: row.values[name] for name in row.values if name not in self._added}
            self.encoder.add(replace(row, values=others))
            text = row_text(row, self._column)
            if prediction and n % self.step == 0:
                self._sample[n] = text
            excerpt = printable(text[:MAX_EXCERPT])
            self.rows.append(replace(prediction, text=excerpt) if prediction else None)
            if len(self.rows) > MAX_SAMPLE * self.step:
                self.step *= 2
                self._sample = {n: text for n, text in self._sample.items() if n % self.step == 0}

    def labels(self) -> tuple[str, ...]:
        """Return the labels of the predictions."""
        labels = {row.label for row in self.rows if row}
        return _BINARY if labels and labels <= set(_BINARY) else tuple(sorted(labels))

    def scored(self, labels: Sequence[str]) -> ScoredRows:
        """Return the predictions as arrays."""
        return ScoredRows.of(
            labels,
            [row.verdict if row else None for row in self.rows],
            [row.score if row else None for row in self.rows],
            [row.stars if row else None for row in self.rows],
        )

    def mentions(self, predict: Callable[..., Sequence[Prediction | TextError]]) -> list[Mention]:
        """Return the mentions of aspects in the sample."""
        context, numbers = CallContext(), list(self._sample)
        found: list[Mention] = []
        for start in range(0, len(numbers), _BATCH_ROWS):
            texts = {n: self._sample[n] for n in numbers[start : start + _BATCH_ROWS]}
            found += find_mentions(predict, texts, context)
        return found
