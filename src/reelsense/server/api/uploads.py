"""Uploaded files of texts: format, rows, text column and preview.

Does not know jobs or predictions.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import PurePosixPath
from typing import IO, Any

from werkzeug.exceptions import UnsupportedMediaType

from reelsense.errors import DatasetError
from reelsense.server.api.schemas import PreviewSchema
from reelsense.server.middleware.field_errors import FieldError, InvalidRequestError
from reelsense.tables import reading
from reelsense.tables.dialect import SAMPLE_LINES
from reelsense.tables.reading import EXCEL, JSON, FileFormat, ReadOptions, Table, file_format_of
from reelsense.tables.row import TEXT_COLUMNS, Columns, Row
from reelsense.tables.text import UNDECODED, text_lines, undecoded
from reelsense.text.clean import printable

MEDIA_TYPES = {
    "text/csv": ".csv",
    "text/tab-separated-values": ".tsv",
    "application/json": ".json",
    "application/jsonl": ".jsonl",
    "application/x-ndjson": ".jsonl",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": ".xlsx",
    "text/plain": ".txt",
}
"""Suffixes of the table formats by media type."""

FORMATS = tuple(dict.fromkeys(MEDIA_TYPES.values()))

_PREVIEW_ROWS = 5
_MAX_NAME = 200  # characters
_MAX_COLUMNS = 1000
_MAX_COLUMN_NAME = 1000  # characters: names are repeated in every row of a .jsonl
_MAX_EXPANSION = {EXCEL: 100}  # maximum ratio of stored bytes to bytes read


class _CheckedStream(io.RawIOBase):
    """A stream that calls `check` before every read, so that reading stops at the deadline."""

    def __init__(self, stream: IO[bytes], check: Callable[[], None]) -> None:
        self._stream, self._check = stream, check
        self.bytes_read = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._check()
        size = 0
        while size < len(buffer) and (content := self._stream.read(len(buffer) - size)):
            buffer[size : size + len(content)] = content
            size += len(content)
        self.bytes_read += size
        return size


@dataclass(frozen=True, slots=True)
class Upload:
    """A table that is being received."""

    name: str
    suffix: str
    table: Table
    stream: _CheckedStream
    lines: io.TextIOWrapper | None = None
    """The text behind `rows`; None for Excel."""

    @property
    def rows(self) -> Iterator[Row]:
        """The rows; they can be read once."""
        return (row for row, _ in self.table.rows)

    def max_bytes(self, rows: int) -> int:
        """Return the maximum stored size of the first `rows` in bytes: a multiple of those read.

        Short rows are filled up, and characters are escaped. Excel files are compressed.
        """
        return self.stream.bytes_read * _MAX_EXPANSION.get(self.suffix, 10) + 300 * rows


def open_upload(
    name: str,
    media_type: str,
    stream: IO[bytes],
    options: ReadOptions,
    *,
    charset: str | None = None,
    check: Callable[[], None] = lambda: None,
) -> Upload:
    """Return the table in `stream`, whose default encoding is `charset`, otherwise UTF-8.

    The format is that of the file name, which may be empty, otherwise that of the media type.
    `check` is called repeatedly while the table is read, and may raise an error. Raises
    UnsupportedMediaType for other formats and forms, InvalidRequestError for an invalid option, and
    DatasetError if the table cannot be opened.
    """
    if media_type == "multipart/form-data":
        raise UnsupportedMediaType(
            "forms are not supported: send the file itself as the body (curl --data-binary "
            "@small.csv)"
        )
    # Browsers on Windows may send the folders, too.
    name = PurePosixPath(name.replace("\\", "/")).name.strip()[-_MAX_NAME:]
    file_format = upload_format(name, media_type)
    name = name or f"texts{file_format}"
    checked = _CheckedStream(stream, check)
    buffered = io.BufferedReader(checked)
    if media_type == "application/x-www-form-urlencoded" and _has_one_line(buffered):
        raise DatasetError(
            f"{name} is a single line without a line break: curl -d removes line breaks, use curl "
            "--data-binary @small.csv",
            code="no-line-breaks",
        )
    options = replace(options, encoding=options.encoding or charset)
    if file_format.suffix == EXCEL:
        content = io.BytesIO(buffered.read())  # limited by the maximum size of an upload
        table = reading.read_excel(content, name, options, check)
        return Upload(name, EXCEL, table, checked)
    try:
        lines = text_lines(buffered, options.encoding)
    except DatasetError as error:
        field = FieldError(pointer="?encoding", code="no-such-encoding", detail=str(error))
        raise InvalidRequestError([field]) from error
    table = reading.read_text(lines, file_format.suffix, name, options)
    return Upload(name, file_format.suffix, table, checked, lines)


def _has_one_line(stream: io.BufferedReader[Any]) -> bool:
    """Return whether the body is short and has no line break. Does not consume it."""
    start = stream.peek(1)
    is_whole = 0 < len(start) < io.DEFAULT_BUFFER_SIZE
    return is_whole and b"\n" not in start and b"\r" not in start


def upload_format(name: str, media_type: str) -> FileFormat:
    """Return the format of an upload: that of its name, otherwise that of the media type.

    Raises UnsupportedMediaType.
    """
    with suppress(DatasetError):
        file_format = file_format_of(name)
        if file_format.suffix in FORMATS and not file_format.compressed:
            return file_format
    if suffix := MEDIA_TYPES.get(media_type):
        return FileFormat(suffix)
    raise UnsupportedMediaType(
        f"{name} should be one of {', '.join(FORMATS)}"
        if name
        else "unknown file format: set ?name=a.csv, or Content-Type to one of "
        f"{', '.join(MEDIA_TYPES)}"
    )


def resolve_column(upload: Upload, column: str | None) -> tuple[str, Iterator[Row]]:
    """Return the column that contains the texts (None: one with a usual name), and all rows.

    Raises DatasetError if the table is empty or has too many columns, and InvalidRequestError if
    the column does not exist or the default is ambiguous.
    """
    if upload.suffix == ".txt":
        return "text", upload.rows
    rows = upload.rows
    first = next(rows, None)
    if first is None:
        raise _empty_file(upload)
    rows = chain([first], rows)
    columns = upload.table.columns or Columns(tuple(first.values))
    if len(columns.header) > _MAX_COLUMNS:
        raise DatasetError(
            f"{upload.name} has {len(columns.header):,} columns; the limit is {_MAX_COLUMNS:,}",
            code="too-many-columns",
        )
    if any(len(name) > _MAX_COLUMN_NAME for name in (*columns.header, column or "")):
        raise DatasetError(
            f"{upload.name}: a column name has more than {_MAX_COLUMN_NAME:,} characters: if the "
            "first line is not a header, set ?header=false",
            code="column-name-too-long",
        )
    if column is not None and upload.suffix in JSON:  # rows may have different keys
        return column, rows
    try:
        return columns.choose(column, upload.name, "?column="), rows
    except DatasetError as error:
        field = FieldError(pointer="?column", code=error.code, detail=printable(str(error)))
        raise InvalidRequestError([field]) from error


def _empty_file(upload: Upload) -> DatasetError:
    return DatasetError(f"{upload.name} contains no rows", code="no-rows")


def preview_upload(upload: Upload, *, cut: bool) -> PreviewSchema:
    """Return the columns and first rows of a table. Raises DatasetError if it is not one.

    If it is `cut`, it is only the beginning of a file, whose last row may be incomplete.
    """
    first_rows: list[Row] = []
    rows = upload.rows
    try:
        first_rows.extend(islice(rows, _PREVIEW_ROWS + 1))
    except DatasetError:
        if not (cut and first_rows):
            raise
    is_undecoded = [row.error == UNDECODED for row in first_rows]
    with suppress(DatasetError):  # reported when the complete file is uploaded
        is_undecoded.extend(row.error == UNDECODED for row in islice(rows, SAMPLE_LINES))
        # The other lines are not parsed: that would take 20 times as long.
        is_undecoded.extend(undecoded([line], None) is not None for line in upload.lines or ())
    if cut:  # the last character may be incomplete
        del is_undecoded[-1:]
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
        undecoded=sum(is_undecoded),
        dialect=upload.table.dialect,
        warning=upload.table.warning,
    )


def _suggested_column(columns: list[str], cells: list[list[str]]) -> str:
    """Return the column with the most likely name, otherwise the one with the longest values."""
    by_name = {name.strip().lower(): name for name in reversed(columns)}
    for name in TEXT_COLUMNS:
        if name in by_name:
            return by_name[name]
    lengths = [sum(map(len, column)) for column in zip(*cells, strict=True)]
    return columns[lengths.index(max(lengths))]
