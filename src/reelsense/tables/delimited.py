"""Read .csv and .tsv files as rows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from reelsense.errors import DatasetError
from reelsense.tables.dialect import SAMPLE_CHARACTERS, SAMPLE_LINES, Layout, detect, has_columns
from reelsense.tables.records import Quoting, Record, read_records
from reelsense.tables.row import MAX_COLUMNS, Columns, Row
from reelsense.tables.text import undecoded, undecoded_header

_LONG_NAME = 60  # characters of a column name from which on it looks like a review
_SENTENCE = re.compile(r"\S+\s.*[.!?]\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class DelimitedTable:
    """A delimited table that is being read."""

    columns: Columns
    rows: Iterator[Row]
    layout: Layout

    @property
    def warning(self) -> str | None:
        """Why the first line may not be a header."""
        for title in self.columns.header:
            if len(title) > _LONG_NAME or _SENTENCE.fullmatch(title):
                return (
                    f"the first line looks like a review ({title[:40]!r}): if it is not a header, "
                    "pass --no-header"
                )
        return None


def read_delimited(
    lines: Iterable[str],
    suffix: str,
    name: str,
    *,
    encoding: str | None = None,
    delimiter: str | None = None,
    quoting: Quoting | None = None,
    has_header: bool = True,
) -> DelimitedTable:
    """Read a table. Rows that cannot be read have an error; no line is lost.

    Args:
        lines: From `text.text_lines`, so that undecodable bytes are errors of their rows.
        suffix: ".csv" or ".tsv".
        name: Of the table, for errors.
        encoding: As chosen by the user, for errors.
        delimiter: None: detect it.
        quoting: None: detect it.
        has_header: Whether the first line contains the column names.

    Raises:
        DatasetError: The header cannot be read, or has too many columns.
    """
    lines = iter(lines)
    sample, is_cut = _sample(lines)
    layout = detect(sample, suffix, delimiter=delimiter, quoting=quoting, is_cut=is_cut)
    rest = chain(sample[layout.first_line :], lines)
    records = read_records(rest, layout.dialect, layout.is_row)
    first = next(records, None)
    header: tuple[str, ...] = ()
    if first and has_header:
        header = _header(first, name, encoding)
    elif first:
        header = tuple(f"column {n}" for n, _ in enumerate(first.fields, start=1))
        records = chain([first], records)
    if len(header) > MAX_COLUMNS:
        raise DatasetError(
            f"{name} has {len(header):,} columns: the limit is {MAX_COLUMNS:,}",
            code="too-many-columns",
        )
    columns = Columns(header)
    return DelimitedTable(columns, _rows(records, columns, layout.first_line, encoding), layout)


def _sample(lines: Iterator[str]) -> tuple[list[str], bool]:
    """Return the first lines, and whether there may be more."""
    sample: list[str] = []
    characters = 0
    for line in lines:
        sample.append(line)
        characters += len(line)
        if len(sample) == SAMPLE_LINES or characters >= SAMPLE_CHARACTERS:
            return sample, True
    return sample, False


def _header(record: Record, name: str, encoding: str | None) -> tuple[str, ...]:
    if record.error:
        raise DatasetError(f"{name}, line {record.line}: {record.error}", code="malformed-table")
    if undecoded(record.fields, encoding):
        raise undecoded_header(name)
    return tuple(record.fields)


def _rows(
    records: Iterable[Record], columns: Columns, lines_before: int, encoding: str | None
) -> Iterator[Row]:
    names = columns.names
    for record in records:
        fields = record.fields
        error = record.error or undecoded(fields, encoding)
        if not error and not has_columns(fields, len(names)):
            error = f"{len(fields)} fields where the header has {len(names)}"
        values: dict[str, object] = dict.fromkeys(names, "")
        values.update(zip(names, fields, strict=False))
        yield Row(lines_before + record.line, values, error)
