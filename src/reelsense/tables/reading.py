"""Read tables of every format: delimited, JSON Lines and text, also gzipped, and Parquet.

Knows files and formats. Does not know what the rows mean.
"""

from __future__ import annotations

import gzip
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO

from reelsense.errors import DatasetError
from reelsense.tables import parquet, storage
from reelsense.tables.delimited import SUFFIXES, Row, conversion_hint, header, rows, text_lines
from reelsense.tables.storage import FileInfo, io_errors

STANDARD_INPUT = "-"

PARQUET = ".parquet"


@dataclass(frozen=True, slots=True)
class FileFormat:
    """The format of a table."""

    suffix: str  # one of `SUFFIXES`, or `PARQUET`
    compressed: bool = False  # with gzip

    def __str__(self) -> str:
        return self.suffix + ".gz" * self.compressed


def file_format_of(address: str) -> FileFormat:
    """Return the format that a file name stands for. Raises DatasetError if it is unknown."""
    path = PurePosixPath(address)
    compressed = path.suffix.lower() == ".gz"
    suffix = (path.with_suffix("") if compressed else path).suffix.lower()
    if suffix in SUFFIXES or (suffix == PARQUET and not compressed):
        return FileFormat(suffix, compressed)
    raise DatasetError(
        f"{address}: unknown format: expected {', '.join(SUFFIXES)} (each also .gz) or {PARQUET}"
        f"{conversion_hint(address)}",
        code="unknown-format",
    )


def is_table(address: str) -> bool:
    """Return whether a file name is that of a table."""
    with suppress(DatasetError):
        return bool(file_format_of(address))
    return False


def read_rows(
    file: FileInfo, file_format: FileFormat, encoding: str | None = None
) -> Iterator[tuple[Row, float]]:
    """Yield the rows of a file, each with the fraction of the file that has been read.

    The fraction is 0 if the size is unknown. A file with the name `STANDARD_INPUT` is read from
    standard input. Raises DatasetError if the file cannot be read to its end.
    """
    suffix = file_format.suffix
    if file.name == STANDARD_INPUT:
        with text_lines(sys.stdin.buffer, encoding) as lines:
            for row in rows(lines, suffix, file.name, encoding):
                yield row, 0.0
        return
    with storage.open_file(file.address) as raw:
        if suffix == PARQUET:
            yield from parquet.rows(raw, file.name)
            return
        with (
            io_errors(file.name, "read to its end", "damaged-file"),
            text_lines(_decompressed(raw, file_format), encoding) as lines,
        ):
            for row in rows(lines, suffix, file.name, encoding):
                yield row, raw.tell() / file.size if file.size else 0.0


def columns(
    file: FileInfo, file_format: FileFormat, encoding: str | None = None
) -> tuple[str, ...]:
    """Return the columns of a .csv, .tsv or Parquet file; none if it is empty.

    Raises DatasetError if the file cannot be read.
    """
    with storage.open_file(file.address) as raw:
        if file_format.suffix == PARQUET:
            return tuple(parquet.schema(raw, file.name).names)
        with (
            io_errors(file.name, "read to its end", "damaged-file"),
            text_lines(_decompressed(raw, file_format), encoding) as lines,
        ):
            return header(lines, file_format.suffix, file.name, encoding)


def _decompressed(raw: IO[bytes], file_format: FileFormat) -> IO[bytes]:
    if not file_format.compressed:
        return raw
    return gzip.GzipFile(fileobj=raw, mode="rb")  # type: ignore[return-value]  # is an IO
