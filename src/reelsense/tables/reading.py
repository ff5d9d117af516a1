"""Open tables of every format as rows: delimited, JSON, text, each also gzipped, Excel, Parquet.

Does not know what the rows mean.
"""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from io import BytesIO, TextIOWrapper
from itertools import chain
from pathlib import PurePosixPath
from typing import IO

from reelsense.errors import DatasetError
from reelsense.tables import excel, parquet, storage
from reelsense.tables.delimited import read_delimited
from reelsense.tables.json import json_rows
from reelsense.tables.records import Quoting
from reelsense.tables.row import Columns, Row
from reelsense.tables.storage import FileInfo, io_errors
from reelsense.tables.text import limited_lines, text_lines, text_rows

STANDARD_INPUT = "-"

PARQUET, EXCEL = ".parquet", ".xlsx"
DELIMITED = (".csv", ".tsv")
JSON = (".jsonl", ".json")  # both may be an array or JSON Lines
TEXT_FORMATS = (*DELIMITED, *JSON, ".txt")  # may be compressed

_ALIASES = {".ndjson": ".jsonl", ".tab": ".tsv"}


@dataclass(frozen=True, slots=True)
class FileFormat:
    """The format of a table."""

    suffix: str  # one of `TEXT_FORMATS`, EXCEL or PARQUET
    compressed: bool = False  # with gzip

    def __str__(self) -> str:
        return self.suffix + ".gz" * self.compressed


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """Options for reading files. None: detect the value."""

    input_format: FileFormat | None = None
    encoding: str | None = None  # None: UTF-8
    delimiter: str | None = None
    quoting: Quoting | None = None
    has_header: bool = True
    sheet: str | None = None  # None: the first one


@dataclass(frozen=True, slots=True)
class Table:
    """A table that is being read."""

    rows: Iterator[tuple[Row, float]]
    """Each with the fraction of the file that has been read; 0 if the size is unknown."""
    columns: Columns | None
    """None: each row has its own (JSON)."""
    dialect: str | None = None
    """How a delimited file is written, in words."""
    warning: str | None = None


def file_format_of(address: str) -> FileFormat:
    """Return the format that a file name stands for. Raises DatasetError if it is unknown."""
    path = PurePosixPath(address)
    compressed = path.suffix.lower() == ".gz"
    suffix = (path.with_suffix("") if compressed else path).suffix.lower()
    suffix = _ALIASES.get(suffix, suffix)
    if suffix in TEXT_FORMATS or (suffix in (PARQUET, EXCEL) and not compressed):
        return FileFormat(suffix, compressed)
    hint = "; in Excel: Save As, .xlsx" if suffix in (".xls", ".ods") else ""
    raise DatasetError(
        f"{address}: unknown format: expected {', '.join(TEXT_FORMATS)} (each also .gz), {EXCEL} "
        f"or {PARQUET}{hint}",
        code="unknown-format",
    )


def is_table(address: str) -> bool:
    """Return whether a file name is that of a table."""
    with suppress(DatasetError):
        return bool(file_format_of(address))
    return False


@contextmanager
def open_table(file: FileInfo, options: ReadOptions) -> Iterator[Table]:
    """Open a table. A file with the name `STANDARD_INPUT` is read from standard input.

    Raises DatasetError, also while the rows are read, if the file cannot be read to its end.
    """
    file_format = options.input_format or file_format_of(file.name)
    with _open(file, file_format) as raw:
        if file_format.suffix == PARQUET:
            columns, rows = parquet.read(raw, file.name)
            yield Table(rows, columns)
        elif file_format.suffix == EXCEL:
            yield read_excel(raw, file.name, options)
        else:
            with text_lines(_decompressed(raw, file_format), options.encoding) as lines:
                table = read_text(lines, file_format.suffix, file.name, options)
                yield replace(table, rows=_with_fraction(table.rows, raw, file.size))


@contextmanager
def _open(file: FileInfo, file_format: FileFormat) -> Iterator[IO[bytes]]:
    if file.name != STANDARD_INPUT:
        with storage.open_file(file.address) as raw:
            yield raw
    elif file_format.suffix in (PARQUET, EXCEL):
        yield BytesIO(sys.stdin.buffer.read())  # these formats are not read from start to end
    else:
        yield sys.stdin.buffer


def read_text(lines: TextIOWrapper, suffix: str, name: str, options: ReadOptions) -> Table:
    """Read a table of text: delimited, JSON or one text per line. Fractions read are 0.

    Args:
        lines: From `text.text_lines`.
        suffix: One of `TEXT_FORMATS`.
        name: Of the table, for errors.
        options: How it is written.
    """
    encoding = options.encoding
    if suffix in JSON:
        return Table(_safe(json_rows(lines, name, encoding), name, encoding), None)
    if suffix == ".txt":
        texts = text_rows(limited_lines(lines, name), encoding)
        return Table(_safe(texts, name, encoding), Columns(("text",)))
    with _read_errors(name, encoding):
        table = read_delimited(
            limited_lines(lines, name),
            suffix,
            name,
            encoding=encoding,
            delimiter=options.delimiter,
            quoting=options.quoting,
            has_header=options.has_header,
        )
    rows = _safe(table.rows, name, encoding)
    return Table(rows, table.columns, str(table.layout.dialect), table.warning)


def read_excel(
    raw: IO[bytes], name: str, options: ReadOptions, check: Callable[[], None] = lambda: None
) -> Table:
    """Read a sheet of an Excel file. `check` is called repeatedly, and may raise an error."""
    cells = excel.sheet_rows(raw, name, options.sheet, check)
    first = next(cells, [])
    if options.has_header:
        columns = Columns(tuple(map(str, first)))
    else:
        columns = Columns(tuple(f"column {n}" for n in range(1, len(first) + 1)))
        cells = chain([first], cells)
    start = 2 if options.has_header else 1
    rows = ((_excel_row(columns, number, row), 0.0) for number, row in enumerate(cells, start))
    return Table(rows, columns)


def _excel_row(columns: Columns, number: int, cells: list[object]) -> Row:
    names = columns.names
    error = None
    if len(cells) > len(names):
        error = f"{len(cells)} cells where the header has {len(names)}"
    values: dict[str, object] = dict.fromkeys(names, "")
    values.update(zip(names, cells, strict=False))
    return Row(number, values, error)


def _safe(rows: Iterator[Row], name: str, encoding: str | None) -> Iterator[tuple[Row, float]]:
    with _read_errors(name, encoding):
        for row in rows:
            yield row, 0.0


def _with_fraction(
    rows: Iterator[tuple[Row, float]], raw: IO[bytes], size: int | None
) -> Iterator[tuple[Row, float]]:
    for row, _ in rows:
        yield row, raw.tell() / size if size else 0.0


@contextmanager
def _read_errors(name: str, encoding: str | None) -> Iterator[None]:
    with io_errors(name, "read to its end", "damaged-file"):
        try:
            yield
        except UnicodeError as error:
            raise DatasetError(
                f"{name} is not text in {encoding}: {error}", code="wrong-encoding"
            ) from error


def _decompressed(raw: IO[bytes], file_format: FileFormat) -> IO[bytes]:
    if not file_format.compressed:
        return raw
    return gzip.GzipFile(fileobj=raw, mode="rb")  # type: ignore[return-value]  # is an IO
