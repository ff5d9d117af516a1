"""A file of texts that is sent: its kind, its rows, its column, what is in it at a glance.

Knows bytes that arrive and tables; knows neither jobs nor answers.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, count, islice
from pathlib import PurePosixPath
from typing import IO

from werkzeug.exceptions import UnsupportedMediaType

from reelsense.bulk.columns import default_text_column
from reelsense.errors import DatasetError
from reelsense.server.middleware.problems import FieldError, InvalidRequestError
from reelsense.tables.delimited import SUFFIXES, UNDECODED, Row, conversion_hint, rows, text_lines
from reelsense.text.clean import printable

MEDIA_TYPES = {
    "text/csv": ".csv",
    "text/tab-separated-values": ".tsv",
    "application/jsonl": ".jsonl",
    "application/x-ndjson": ".jsonl",
    "text/plain": ".txt",
}
"""Of what is sent, and the kind of table it is."""

SHOWN = 5
"""Rows of a preview."""

_LONGEST_NAME = 200
_LONGEST_HEADER = 100_000
_LONGEST_LINE = 10_000_000
"""Characters. A line becomes objects of some sixty bytes for each two characters, at worst."""

_COLUMNS = 1000
_LIKELY = ("text", "review", "reviews", "body", "content", "comment", "sentence", "message")


@dataclass(frozen=True, slots=True)
class Upload:
    """A table that arrives."""

    name: str
    suffix: str
    rows: Iterator[Row]


@dataclass(frozen=True, slots=True)
class FilePreview:
    """What is in a file at a glance."""

    columns: list[str]
    rows: list[list[str]]
    suggested: str
    """The column that seems to hold the texts."""
    undecoded: int
    """Rows that are not UTF-8 text, of all that was sent."""


def upload(name: str, media_type: str, stream: IO[bytes], encoding: str | None = None) -> Upload:
    """Return what arrives in `stream`, a table of the kind that its `name` says, or `media_type`.

    Raises UnsupportedMediaType if neither says which kind of table it is or it is a form,
    InvalidRequestError if there is no such `encoding`.
    """
    if media_type == "multipart/form-data":
        raise UnsupportedMediaType(
            "send the file itself as the body: curl --data-binary @small.csv"
        )
    # As a browser of another system might send it: with its folders.
    name = PurePosixPath(name.replace("\\", "/")).name.strip()[-_LONGEST_NAME:]
    suffix = PurePosixPath(name).suffix.lower()
    if suffix not in SUFFIXES:
        suffix = MEDIA_TYPES.get(media_type, "")
    if not suffix:
        raise UnsupportedMediaType(
            f"{name} is not one of {', '.join(SUFFIXES)}{conversion_hint(name)}"
            if name
            else f"say what it is: ?name=a.csv, or Content-Type: one of {', '.join(MEDIA_TYPES)}"
        )
    name = name or f"texts{suffix}"
    buffered = io.BufferedReader(stream) if isinstance(stream, io.RawIOBase) else stream
    try:
        lines = text_lines(buffered, encoding)
    except DatasetError as error:
        fault = FieldError(pointer="?encoding", code="no-such-encoding", detail=str(error))
        raise InvalidRequestError([fault]) from error
    return Upload(name, suffix, rows(_bounded(lines, suffix, name), suffix, name, encoding))


def _bounded(lines: io.TextIOWrapper, suffix: str, name: str) -> Iterator[str]:
    """Yield `lines`. Raises DatasetError at one that would take too much memory to read."""
    for number in count(1):
        is_header = number == 1 and suffix in (".csv", ".tsv")
        most = _LONGEST_HEADER if is_header else _LONGEST_LINE
        line = lines.readline(most + 1)
        if len(line) > most:
            raise DatasetError(f"{name}: line {number} is longer than {most:,} characters")
        if not line:
            return
        yield line


def with_texts(sent: Upload, column: str | None) -> tuple[str, Iterator[Row]]:
    """Return the column of the texts, `column` or the evident one, and all rows.

    Raises InvalidRequestError if there is no such column, or none is evident.
    """
    if sent.suffix == ".txt":
        return "text", sent.rows
    first = next(sent.rows, None)
    if first is None:
        raise DatasetError(f"{sent.name}: there are no rows in it")
    table = chain([first], sent.rows)
    columns = list(first.values)
    if len(columns) > _COLUMNS:
        raise DatasetError(
            f"{sent.name}: there are {len(columns):,} columns in it; up to {_COLUMNS:,} are taken"
        )
    if column is None:
        column = default_text_column(columns)
    elif sent.suffix == ".jsonl":  # rows may differ in their keys
        return column, table
    if column not in columns:
        detail = f"there is no column {column!r} in {sent.name}; there are {_quoted(columns)}"
        fault = FieldError(pointer="?column", code="no-such-column", detail=detail)
        raise InvalidRequestError([fault])
    return column, table


def preview(sent: Upload, *, cut: bool) -> FilePreview:
    """Return what the first rows hold; of a file that was `cut`, the last row may be half.

    Raises DatasetError if that is no table.
    """
    found: list[Row] = []
    try:
        found.extend(islice(sent.rows, SHOWN + 1))
    except DatasetError:
        if not (cut and found):
            raise
    undecoded = [row.error == UNDECODED for row in found]
    with suppress(DatasetError):  # which is told when all of it is sent
        undecoded.extend(row.error == UNDECODED for row in sent.rows)
    if cut:  # perhaps in the midst of a letter
        del undecoded[-1:]
    if cut and 1 < len(found) <= SHOWN:
        found.pop()
    if not found:
        raise DatasetError(f"{sent.name}: there are no rows in it")
    columns = list(dict.fromkeys(name for row in found for name in row.values))[:_COLUMNS]
    if not columns:
        raise DatasetError(f"{sent.name}: {found[0].error or 'there are no columns in it'}")
    shown = [[_cell(row.values.get(name, "")) for name in columns] for row in found[:SHOWN]]
    suggested = _suggested(columns, shown)
    return FilePreview(list(map(printable, columns)), shown, printable(suggested), sum(undecoded))


def _suggested(columns: list[str], shown: list[list[str]]) -> str:
    for likely in _LIKELY:
        for name in columns:
            if name.strip().lower() == likely:
                return name
    lengths = [sum(len(row[n]) for row in shown) for n in range(len(columns))]
    return columns[lengths.index(max(lengths))]


def _cell(value: object) -> str:
    return printable(str(value)[:300])


def _quoted(names: list[str]) -> str:
    quoted = ", ".join(repr(printable(name[:100])) for name in names[:20])
    return quoted + (", ..." if len(names) > 20 else "")
