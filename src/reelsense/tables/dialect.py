"""Detect how a delimited file is written, from a sample of its lines.

Reads the sample in every dialect and takes the one whose rows fit together best: as many fields
as the header, numbers where the other rows have numbers. Why no library: docs/decisions/0013.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product

from reelsense.tables.records import Dialect, Quoting, Record, read_records
from reelsense.tables.row import MAX_COLUMNS

SAMPLE_LINES = 1000
SAMPLE_CHARACTERS = 300_000

DELIMITERS = {".csv": ",;\t|", ".tsv": "\t"}
"""Possible delimiters of a format, the most likely first."""

_QUOTINGS: tuple[Quoting, ...] = ("doubled", "backslash", "none")

_NUMBER = re.compile(r"\s*[-+]?[\d.,:/-]*\d\s*")

_SHORT = 24
"""Characters of a field that is a name, a label or a number rather than prose."""

_USUAL = 0.8
"""Share of the fields of a column from which on the others are unusual."""

_ONE_COLUMN = 0.5
"""Share of unusual lines that several columns may have before one column is more likely."""

_MAX_LABELS = 20

_ESCAPED_QUOTE = re.compile(r'\\"(?!")')

_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Layout:
    """How a table is written, and what its rows look like."""

    dialect: Dialect
    first_line: int
    """Lines before the header: blank ones and `sep=;`."""
    columns: int
    numbers: tuple[int, ...]
    """Columns of numbers, counted from 0."""
    labels: dict[int, frozenset[str]]
    """Columns with few different values, such as labels, and these values."""

    def is_row(self, fields: Sequence[str]) -> bool:
        """Return whether the fields of a line are certainly those of a row."""
        if len(fields) != self.columns or self.columns == 1:
            return False
        if self.numbers:
            return all(_kind(fields[n]) in ("number", "blank") for n in self.numbers)
        if self.dialect.delimiter == "\t":  # prose contains commas, but hardly ever tabs
            return True
        return bool(self.labels) and all(fields[n] in values for n, values in self.labels.items())


def detect(
    sample: Sequence[str],
    suffix: str,
    *,
    delimiter: str | None = None,
    quoting: Quoting | None = None,
    is_cut: bool = False,
) -> Layout:
    """Return the layout of a table.

    Args:
        sample: The first lines of the table, with their line ends.
        suffix: ".csv" or ".tsv".
        delimiter: None: detect it.
        quoting: None: detect it.
        is_cut: Whether the table has more lines than the sample.
    """
    first_line = next((n for n, line in enumerate(sample) if line.strip()), len(sample))
    if first_line < len(sample) and (match := _SEPARATOR_LINE.fullmatch(sample[first_line])):
        delimiter, first_line = delimiter or match[1], first_line + 1
    lines = sample[first_line:]
    text = "".join(lines)
    # With a delimiter that does not occur, each line is one column.
    unused = next(character for character in ",;\t|\x1f" if character not in text)
    delimiters = [delimiter] if delimiter else [*filter(text.count, DELIMITERS[suffix]), unused]
    quotings = [quoting] if quoting else _QUOTINGS if '"' in text else _QUOTINGS[:1]
    # Of equally good dialects, the first one is taken. A backslash before a doubled quote is text.
    if not quoting and _ESCAPED_QUOTE.search(text):
        quotings = ["backslash", "doubled", "none"]
    readings = [
        _reading(Dialect(delimiter, quoting), lines, is_cut)
        for quoting, delimiter in product(quotings, delimiters)
    ]
    best, _ = min(readings, key=lambda reading: reading[1])
    return replace(best, first_line=first_line)


def _reading(dialect: Dialect, lines: Sequence[str], is_cut: bool) -> tuple[Layout, float]:
    """Return the layout of `lines` if they are written in `dialect`, and a cost: 0 is perfect."""
    header, rows = _records(dialect, lines, is_cut, None)
    if header and len(header[0].fields) > MAX_COLUMNS:
        return Layout(dialect, 0, len(header[0].fields), (), {}), 0.0  # rejected later
    layout = _layout(dialect, header, rows)
    if any(row.last_line > row.line for row in rows):  # rows may be hidden in quoted fields
        header, rows = _records(dialect, lines, is_cut, layout.is_row)
    kinds = _usual_kinds(rows, layout.columns)
    usual = [row for row in rows if _is_valid(row, layout.columns) and _is_usual(row, kinds)]
    cost = 1 - _line_count(usual) / max(1, _line_count(rows))
    cost += _ONE_COLUMN * (layout.columns == 1) + bool(header and header[0].error)
    return layout, round(cost, 3)


def _records(
    dialect: Dialect,
    lines: Sequence[str],
    is_cut: bool,
    is_row: Callable[[list[str]], bool] | None,
) -> tuple[list[Record], list[Record]]:
    """Return the header, if there is one, and the rows."""
    # Rereading is limited, because the sample is read in every dialect.
    records = list(read_records(lines, dialect, is_row, SAMPLE_CHARACTERS))
    if is_cut and len(records) > 1 and records[-1].last_line == len(lines):
        records.pop()  # the sample may end in the middle of it
    return records[:1], records[1:]


def _layout(dialect: Dialect, header: Sequence[Record], rows: Sequence[Record]) -> Layout:
    columns = len(header[0].fields) if header else 0
    kinds = _usual_kinds(rows, columns)
    numbers = tuple(n for n, kind in enumerate(kinds) if kind == "number")
    valid = [row.fields for row in rows if _is_valid(row, columns)]
    values = {n: Counter(fields[n] for fields in valid) for n in range(columns)}
    labels = {
        n: frozenset(counts)
        for n, counts in values.items()
        if kinds[n] == "name" and len(counts) <= min(_MAX_LABELS, len(valid) / 2)
    }
    return Layout(dialect, 0, columns, numbers, labels)


def _is_valid(row: Record, columns: int) -> bool:
    return not row.error and has_columns(row.fields, columns)


def has_columns(fields: Sequence[str], columns: int) -> bool:
    """Return whether a row has a field for each column, and otherwise only blank ones."""
    return len(fields) >= columns and not any(fields[columns:])


def _line_count(rows: Sequence[Record]) -> int:
    return sum(row.last_line - row.line + 1 for row in rows)


def _usual_kinds(rows: Sequence[Record], columns: int) -> list[str | None]:
    """Return the kind that nearly all fields of each column have; None if they differ.

    In one column it says nothing about the delimiter: texts may be short or long.
    """
    if columns == 1:
        return [None]
    valid = [row.fields for row in rows if _is_valid(row, columns)]
    return [_usual_kind([fields[n] for fields in valid]) for n in range(columns)]


def _usual_kind(fields: Sequence[str]) -> str | None:
    counts = Counter(map(_kind, fields))
    del counts["blank"]
    [(kind, count)] = counts.most_common(1) or [("prose", 0)]
    return kind if kind != "prose" and count >= _USUAL * counts.total() else None


def _kind(field: str) -> str:
    if not field:
        return "blank"
    if len(field) > _SHORT:
        return "prose"
    return "number" if _NUMBER.fullmatch(field) else "name"


def _is_usual(row: Record, kinds: Sequence[str | None]) -> bool:
    return all(
        kind is None or _kind(field) in (kind, "blank")
        for field, kind in zip(row.fields, kinds, strict=False)
    )
