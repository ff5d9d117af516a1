"""Open tables of every format as rows: delimited, JSON Lines and text, also gzipped, and Parquet.

Knows files, formats and how much of a file has been read. Does not know what the rows mean.
"""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO

from reelsense.errors import DatasetError
from reelsense.tables import parquet, storage
from reelsense.tables.delimited import SUFFIXES, Row, conversion_hint, header, rows, text_lines
from reelsense.tables.io_errors import io_errors
from reelsense.tables.storage import FileInfo

STANDARD_INPUT = "-"

PARQUET = ".parquet"


@dataclass(frozen=True, slots=True)
class FileFormat:
    """The format of a table."""

    suffix: str
    """One of `SUFFIXES`, or `PARQUET`."""
    compressed: bool = False
    """With gzip."""

    def __str__(self) -> str:
        """Return the suffix of file names, including .gz."""
        return self.suffix + ".gz" * self.compressed


def file_format_of(address: str) -> FileFormat:
    """Return the format that a file name stands for.

    Raises:
        DatasetError: The suffix is unknown.
    """
    path = PurePosixPath(address)
    compressed = path.suffix.lower() == ".gz"
    suffix = (path.with_suffix("") if compressed else path).suffix.lower()
    if suffix in SUFFIXES or (suffix == PARQUET and not compressed):
        return FileFormat(suffix, compressed)
    raise DatasetError(
        f"{address}: unknown format, expected {', '.join(SUFFIXES)} (each also .gz) or {PARQUET}"
        f"{conversion_hint(address)}",
        code="unknown-format",
    )


def is_table(address: str) -> bool:
    """Return whether a file name is that of a table."""
    with suppress(DatasetError):
        return bool(file_format_of(address))
    return False


@dataclass(frozen=True, slots=True)
class Table:
    """A table that is being read."""

    rows: Iterator[Row]
    fraction_read: Callable[[], float]
    """How much of the file has been read, 0 to 1; 0 if its size is unknown."""


@contextmanager
def open_table(
    file: FileInfo, file_format: FileFormat, encoding: str | None = None
) -> Iterator[Table]:
    """Open a table.

    Args:
        file: The file; one with the name `STANDARD_INPUT` is read from standard input.
        file_format: Its format.
        encoding: Of text; None: UTF-8.

    Raises:
        DatasetError: The file cannot be opened. Reading the rows raises it for damaged files.
    """
    suffix = file_format.suffix
    if file.name == STANDARD_INPUT:
        with text_lines(sys.stdin.buffer, encoding) as lines:
            yield Table(rows(lines, suffix, file.name, encoding), lambda: 0.0)
        return
    with storage.open_file(file.address) as raw:
        if suffix == PARQUET:
            with parquet.table(raw, file.name) as (read, count):
                counter = _Counter(read)
                yield Table(counter, lambda: counter.count / max(1, count))
            return
        with text_lines(_decompressed(raw, file_format), encoding) as lines:
            yield Table(
                _with_io_errors(rows(lines, suffix, file.name, encoding), file.name),
                lambda: raw.tell() / file.size if file.size else 0.0,
            )


def columns(
    file: FileInfo, file_format: FileFormat, encoding: str | None = None
) -> tuple[str, ...]:
    """Return the columns of a .csv, .tsv or Parquet file; none if it is empty.

    Raises:
        DatasetError: The file cannot be read.
    """
    with storage.open_file(file.address) as raw:
        if file_format.suffix == PARQUET:
            return tuple(parquet.schema(raw, file.name).names)
        with (
            io_errors(file.name, "read to its end", "damaged-file"),
            text_lines(_decompressed(raw, file_format), encoding) as lines,
        ):
            return header(lines, file_format.suffix, file.name, encoding)


class _Counter(Iterator[Row]):
    def __init__(self, rows: Iterator[Row]) -> None:
        self._rows, self.count = rows, 0

    def __next__(self) -> Row:
        row = next(self._rows)
        self.count += 1
        return row


def _decompressed(raw: IO[bytes], file_format: FileFormat) -> IO[bytes]:
    if not file_format.compressed:
        return raw
    return gzip.GzipFile(fileobj=raw, mode="rb")  # type: ignore[return-value]  # is an IO


def _with_io_errors(read: Iterator[Row], name: str) -> Iterator[Row]:
    with io_errors(name, "read to its end", "damaged-file"):
        yield from read
