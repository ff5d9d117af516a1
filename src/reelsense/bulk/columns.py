"""The columns of files that are scored together, and which of them holds the texts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from reelsense.errors import DatasetError
from reelsense.tables import parquet, storage
from reelsense.tables.reading import FileFormat, columns, open_table
from reelsense.tables.storage import FileInfo

_JSONL_ROWS = 1000
"""Rows of JSON Lines that are read to find the columns."""

_MAX_FILES = 100
"""Files whose columns are checked before scoring starts. The others are checked when read."""


def of(files: Sequence[FileInfo], file_format: FileFormat, encoding: str | None) -> tuple[str, ...]:
    """Return the columns that all `files` have; none if the files are empty.

    Raises:
        DatasetError: The files have different columns, or one cannot be read.
    """
    if file_format.suffix == ".txt":
        return ("text",)
    if file_format.suffix == ".jsonl":
        return _jsonl_keys(files, file_format, encoding)
    names: tuple[str, ...] = ()
    for file in files[:_MAX_FILES]:
        file_names = columns(file, file_format, encoding)
        if names and file_names:
            check_same(file_names, names, file, files[0])
        names = names or file_names
    return names


def _jsonl_keys(
    files: Sequence[FileInfo], file_format: FileFormat, encoding: str | None
) -> tuple[str, ...]:
    names: dict[str, None] = {}
    rows_left = _JSONL_ROWS
    for file in files[:_MAX_FILES]:
        with open_table(file, file_format, encoding) as table:
            for row in islice(table.rows, rows_left):
                names |= dict.fromkeys(row.values)
                rows_left -= 1
        if not rows_left:
            break
    return tuple(names)


def check_same(
    names: tuple[str, ...], expected: tuple[str, ...], file: FileInfo, first: FileInfo
) -> None:
    """Raise DatasetError unless the columns of `file` are those `expected` from `first`."""
    if names != expected:
        raise DatasetError(
            f"{file.name} has other columns than {first.name}: {_quoted(names)}; "
            f"expected {_quoted(expected)}",
            code="different-columns",
        )


def default_text_column(names: Sequence[str]) -> str:
    """Return the only column, or "text"."""
    return names[0] if len(names) == 1 else "text"


def choose(names: Sequence[str], column: str | None, file: FileInfo) -> str:
    """Return the text column: `column`, or the default for the columns `names` of `file`.

    Raises:
        DatasetError: The file has no such column.
    """
    column = default_text_column(names) if column is None else column
    if names and column not in names:  # no names: the file is empty or has no valid row
        raise DatasetError(
            f"{file.name}: no column {column!r}; pass --column, one of {_quoted(names)}",
            code="no-such-column",
        )
    return column


def types(file: FileInfo) -> object:
    """Return the Arrow schema of a Parquet file."""
    with storage.open_file(file.address) as raw:
        return parquet.schema(raw, file.name)


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))
