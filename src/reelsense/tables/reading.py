"""Read tables of every kind as rows: those of `tables`, each also packed by gzip, and Parquet.

Knows files, kinds and how far a reader is; does not know what the rows mean.
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
from reelsense.tables.delimited import SUFFIXES, Row, advice, header, rows, text_lines
from reelsense.tables.storage import FileInfo

STANDARD_INPUT = "-"

PARQUET = ".parquet"


@dataclass(frozen=True, slots=True)
class FileFormat:
    """What kind of table a file is."""

    suffix: str
    """One of tables.SUFFIXES, or PARQUET."""
    compressed: bool = False
    """By gzip."""

    def __str__(self) -> str:
        """Return how the names of such files end."""
        return self.suffix + ".gz" * self.compressed


def file_format_of(address: str) -> FileFormat:
    """Return the kind that the name of a file says. Raises DatasetError for other names."""
    path = PurePosixPath(address)
    compressed = path.suffix.lower() == ".gz"
    suffix = (path.with_suffix("") if compressed else path).suffix.lower()
    if suffix in SUFFIXES or (suffix == PARQUET and not compressed):
        return FileFormat(suffix, compressed)
    kinds = f"{', '.join(SUFFIXES)} (each also .gz) and {PARQUET}"
    raise DatasetError(
        f"{address}: unknown format, expected {kinds}{advice(address)}", code="unknown-format"
    )


def is_table(address: str) -> bool:
    """Say whether the name of a file is that of a table."""
    with suppress(DatasetError):
        return bool(file_format_of(address))
    return False


@dataclass(frozen=True, slots=True)
class Table:
    """A table that is being read."""

    rows: Iterator[Row]
    share: Callable[[], float]
    """How much of the file has been read, 0 to 1; 0 where its size is not known."""


@contextmanager
def reading(found: FileInfo, kind: FileFormat, encoding: str | None = None) -> Iterator[Table]:
    """Open the table `found`, STANDARD_INPUT perhaps, of UTF-8 or another `encoding`.

    Raises DatasetError if that cannot be.
    """
    if found.name == STANDARD_INPUT:
        with text_lines(sys.stdin.buffer, encoding) as lines:
            yield Table(rows(lines, kind.suffix, found.name, encoding), lambda: 0.0)
        return
    with storage.reading(found.address) as raw:
        if kind.suffix == PARQUET:
            with parquet.table(raw, found.name) as (read, count):
                counter = _Counter(read)
                yield Table(counter, lambda: counter.count / max(1, count))
            return
        with text_lines(_unpacked(raw) if kind.compressed else raw, encoding) as lines:
            yield Table(
                _told_rows(rows(lines, kind.suffix, found.name, encoding), found.name),
                lambda: raw.tell() / found.size if found.size else 0.0,
            )


def columns(found: FileInfo, kind: FileFormat, encoding: str | None = None) -> tuple[str, ...]:
    """Return the columns of `found`, a .csv, .tsv or Parquet; none if it is empty.

    Raises DatasetError if it cannot be read.
    """
    with storage.reading(found.address) as raw:
        if kind.suffix == PARQUET:
            return tuple(parquet.schema(raw, found.name).names)
        unpacked = _unpacked(raw) if kind.compressed else raw
        with _told(found.name), text_lines(unpacked, encoding) as lines:
            return header(lines, kind.suffix, found.name, encoding)


class _Counter(Iterator[Row]):
    def __init__(self, rows: Iterator[Row]) -> None:
        self._rows, self.count = rows, 0

    def __next__(self) -> Row:
        row = next(self._rows)
        self.count += 1
        return row


def _unpacked(raw: IO[bytes]) -> IO[bytes]:
    # gzip.open would do, but for the type it says it has.
    return gzip.GzipFile(fileobj=raw, mode="rb")  # type: ignore[return-value]


def _told_rows(read: Iterator[Row], name: str) -> Iterator[Row]:
    with _told(name):
        yield from read


@contextmanager
def _told(name: str) -> Iterator[None]:
    try:
        yield
    except DatasetError:
        raise
    except Exception as error:  # every store has errors of its own, and so has gzip
        raise DatasetError(
            f"{name} cannot be read to its end: {error}", code="damaged-file"
        ) from error
