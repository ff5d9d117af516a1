"""Uploaded files of texts: format, rows, text column and preview.

Does not know jobs or predictions.
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

from reelsense.bulk.plan import default_text_column
from reelsense.errors import DatasetError
from reelsense.server.api.schemas import PreviewSchema
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
"""Suffixes of the table formats by media type."""

_PREVIEW_ROWS = 5
_MAX_NAME = 200  # characters
_MAX_HEADER = 100_000  # characters
_MAX_LINE = 10_000_000  # characters, of which every two may become objects of 60 bytes
_MAX_COLUMNS = 1000

# Common names of the column that contains the texts, most likely first.
_TEXT_COLUMNS = ("text", "review", "reviews", "body", "content", "comment", "sentence", "message")


@dataclass(frozen=True, slots=True)
class Upload:
    """A table that is being received."""

    name: str
    suffix: str
    rows: Iterator[Row]


def open_upload(
    name: str, media_type: str, stream: IO[bytes], encoding: str | None = None
) -> Upload:
    """Return the table in `stream`, whose default encoding is UTF-8.

    The format is that of the file name, which may be empty, otherwise that of the media type.
    Raises UnsupportedMediaType for other formats and forms, and InvalidRequestError for an unknown
    encoding.
    """
    if media_type == "multipart/form-data":
        raise UnsupportedMediaType(
            "forms are not supported: send the file itself as the body (curl --data-binary "
            "@small.csv)"
        )
    # Browsers on Windows may send the folders, too.
    name = PurePosixPath(name.replace("\\", "/")).name.strip()[-_MAX_NAME:]
    suffix = PurePosixPath(name).suffix.lower()
    if suffix not in SUFFIXES:
        suffix = MEDIA_TYPES.get(media_type, "")
    if not suffix:
        raise UnsupportedMediaType(
            f"{name} should be one of {', '.join(SUFFIXES)}{conversion_hint(name)}"
            if name
            else "unknown file format: set ?name=a.csv, or Content-Type to one of "
            f"{', '.join(MEDIA_TYPES)}"
        )
    name = name or f"texts{suffix}"
    buffered = io.BufferedReader(stream) if isinstance(stream, io.RawIOBase) else stream
    try:
        lines = text_lines(buffered, encoding)
    except DatasetError as error:
        field = FieldError(pointer="?encoding", code="no-such-encoding", detail=str(error))
        raise InvalidRequestError([field]) from error
    return Upload(name, suffix, rows(_limited(lines, suffix, name), suffix, name, encoding))


def _limited(lines: io.TextIOWrapper, suffix: str, name: str) -> Iterator[str]:
    """Yield `lines`. Raises DatasetError at a line that would need too much memory."""
    for number in count(1):
        is_header = number == 1 and suffix in (".csv", ".tsv")
        limit = _MAX_HEADER if is_header else _MAX_LINE
        line = lines.readline(limit + 1)
        if len(line) > limit:
            raise DatasetError(
                f"{name}: line {number} is longer than {limit:,} characters", code="line-too-long"
            )
        if not line:
            return
        yield line


def resolve_column(upload: Upload, column: str | None) -> tuple[str, Iterator[Row]]:
    """Return the column that contains the texts (None: text, or the only column), and all rows.

    Raises DatasetError if the table is empty or has too many columns, and InvalidRequestError if
    the column does not exist or the default is ambiguous.
    """
    if upload.suffix == ".txt":
        return "text", upload.rows
    first = next(upload.rows, None)
    if first is None:
        raise _empty_file(upload)
    table = chain([first], upload.rows)
    columns = list(first.values)
    if len(columns) > _MAX_COLUMNS:
        raise DatasetError(
            f"{upload.name} has {len(columns):,} columns; the limit is {_MAX_COLUMNS:,}",
            code="too-many-columns",
        )
    if column is None:
        column = default_text_column(columns)
    elif upload.suffix == ".jsonl":  # rows may have different keys
        return column, table
    if column not in columns:
        detail = f"no column {column!r} in {upload.name}; columns: {_quoted(columns)}"
        field = FieldError(pointer="?column", code="no-such-column", detail=detail)
        raise InvalidRequestError([field])
    return column, table


def _empty_file(upload: Upload) -> DatasetError:
    return DatasetError(f"{upload.name} contains no rows", code="no-rows")


def preview_upload(upload: Upload, *, cut: bool) -> PreviewSchema:
    """Return the columns and first rows of a table. Raises DatasetError if it is not one.

    If it is `cut`, it is only the beginning of a file, whose last row may be incomplete.
    """
    first_rows: list[Row] = []
    try:
        first_rows.extend(islice(upload.rows, _PREVIEW_ROWS + 1))
    except DatasetError:
        if not (cut and first_rows):
            raise
    undecoded = [row.error == UNDECODED for row in first_rows]
    with suppress(DatasetError):  # reported when the complete file is uploaded
        undecoded.extend(row.error == UNDECODED for row in upload.rows)
    if cut:  # the last character may be incomplete
        del undecoded[-1:]
    if cut and 1 < len(first_rows) <= _PREVIEW_ROWS:
        first_rows.pop()
    if not first_rows:
        raise _empty_file(upload)
    columns = list(dict.fromkeys(name for row in first_rows for name in row.values))[:_MAX_COLUMNS]
    if not columns:
        raise DatasetError(f"{upload.name}: {first_rows[0].error or 'it has no columns'}")
    cells = [
        [printable(str(row.values.get(name, ""))[:300]) for name in columns]
        for row in first_rows[:_PREVIEW_ROWS]
    ]
    suggested = _suggested_column(columns, cells)
    return PreviewSchema(
        columns=list(map(printable, columns)),
        rows=cells,
        suggested=printable(suggested),
        undecoded=sum(undecoded),
    )


def _suggested_column(columns: list[str], cells: list[list[str]]) -> str:
    """Return the column with the most likely name, otherwise the one with the longest values."""
    by_name = {name.strip().lower(): name for name in reversed(columns)}
    for name in _TEXT_COLUMNS:
        if name in by_name:
            return by_name[name]
    lengths = [sum(map(len, column)) for column in zip(*cells, strict=True)]
    return columns[lengths.index(max(lengths))]


def _quoted(names: list[str]) -> str:
    quoted = ", ".join(repr(printable(name[:100])) for name in names[:20])
    return quoted + (", ..." if len(names) > 20 else "")
