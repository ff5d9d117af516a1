"""Write rows with added columns as .csv, .tsv, .jsonl, .txt or Parquet.

Knows formats and columns. Does not know what the columns contain.
"""

from __future__ import annotations

import base64
import csv
import gzip
import io
import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Protocol

from reelsense.tables import parquet
from reelsense.tables.delimited import Row
from reelsense.tables.reading import PARQUET, FileFormat
from reelsense.text.clean import LONE_SURROGATE

if TYPE_CHECKING:
    import pyarrow as pa

RowWithAdded = tuple[Row, dict[str, object]]
"""A row, and the values that are added to it."""


@dataclass(frozen=True, slots=True)
class OutputSchema:
    """The format and columns of an output table."""

    format: FileFormat
    added: tuple[str, ...]
    """Names of the columns that are added to every row."""
    columns: tuple[str, ...] = ()
    """Names of the columns of the rows. Unused for .jsonl and .txt."""
    types: pa.Schema | None = None
    """Arrow schema of the rows, if they come from Parquet."""

    @property
    def has_columns(self) -> bool:
        """Whether all rows of such a table have the same columns."""
        return self.format.suffix not in (".jsonl", ".txt")


class Writer(Protocol):
    """Writes rows."""

    def write(self, row: Row, added: dict[str, object]) -> None:
        """Write `row` with the values `added`.

        If the row has a column of the same name, the added one is called predicted_label and so on.
        """


def writer(file: IO[str], suffix: str, columns: Sequence[str] = ()) -> Writer:
    """Return a writer for a text format.

    Args:
        file: The file.
        suffix: .csv, .tsv, .jsonl or .txt.
        columns: Of the rows. If given, a .csv or .tsv gets no header; by default the first row
            determines the columns.
    """
    if suffix == ".txt":
        return _TextWriter(file)
    if suffix == ".jsonl":
        return _JsonWriter(file)
    return _CsvWriter(file, "\t" if suffix == ".tsv" else ",", columns)


def encode(schema: OutputSchema, rows: Sequence[RowWithAdded], *, header: bool) -> bytes:
    """Return the content of a file with `rows`; `header` is for .csv and .tsv."""
    buffer = io.BytesIO()
    if schema.format.suffix == PARQUET:
        names = dict(zip(schema.added, _names(schema), strict=True))
        parquet.encode(rows, schema.columns, names, schema.types, buffer)
        return buffer.getvalue()
    text = io.TextIOWrapper(buffer, encoding="utf-8", newline="")
    if header:
        text.write(_header(schema))
    table = writer(text, schema.format.suffix, schema.columns)
    for row, added in rows:
        table.write(row, added)
    text.flush()
    return _compressed(schema, buffer.getvalue())


def empty(schema: OutputSchema) -> bytes:
    """Return the content of a file without rows: a header, if the columns are known."""
    return encode(schema, [], header=bool(schema.columns))


def join(schema: OutputSchema, pieces: Iterable[IO[bytes]], target: IO[bytes]) -> None:
    """Join tables without headers into one with a header."""
    if schema.format.suffix == PARQUET:
        parquet.join(pieces, target)
        return
    for n, piece in enumerate(pieces):
        if n == 0 and (header := _header(schema)):
            target.write(_compressed(schema, header.encode()))
        shutil.copyfileobj(piece, target, 2**20)


def _header(schema: OutputSchema) -> str:
    if not schema.has_columns:
        return ""
    line = io.StringIO(newline="")
    delimiter = "\t" if schema.format.suffix == ".tsv" else ","
    csv.writer(line, delimiter=delimiter).writerow(map(_cell, [*schema.columns, *_names(schema)]))
    return line.getvalue()


def _names(schema: OutputSchema) -> list[str]:
    """Return the output names of the added columns."""
    return list(_renamed(dict.fromkeys(schema.added), dict.fromkeys(schema.columns)))


def _compressed(schema: OutputSchema, content: bytes) -> bytes:
    return gzip.compress(content, mtime=0) if schema.format.compressed else content


class _TextWriter:
    """Writes one verdict per line; the line of a bad row is blank."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, row: Row, added: dict[str, object]) -> None:  # noqa: ARG002
        self._file.write(f"{added['verdict'] or ''}\n")


class _JsonWriter:
    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, row: Row, added: dict[str, object]) -> None:
        present = {name: value for name, value in added.items() if value is not None}
        self._file.write(json_line(row.values | _renamed(present, row.values)))


def json_line(values: dict[str, object]) -> str:
    """Return `values` as one line of JSON that can be encoded in UTF-8."""
    line = json.dumps(values, ensure_ascii=False, default=_plain)
    if LONE_SURROGATE.search(line):  # UTF-8 cannot encode them; JSON escapes can
        line = json.dumps(json.loads(line))
    return line + "\n"


def _plain(value: object) -> str:
    """Return a JSON value for a Parquet value that JSON does not have."""
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


class _CsvWriter:
    """Without given columns, the first row determines them and a header is written."""

    def __init__(self, file: IO[str], delimiter: str, columns: Sequence[str]) -> None:
        self._file, self._delimiter, self._given = file, delimiter, columns
        self._writer: csv.DictWriter[str] | None = None

    def write(self, row: Row, added: dict[str, object]) -> None:
        if self._writer is None:
            own = self._given or list(row.values)
            ours = list(_renamed(added, dict.fromkeys(own)))
            self._columns = dict(zip(added, ours, strict=True))
            self._own = dict.fromkeys(own, "")
            self._writer = csv.DictWriter(self._file, [*own, *ours], delimiter=self._delimiter)
            if not self._given:
                self._writer.writeheader()
        answers = {self._columns[name]: _cell(value) for name, value in added.items()}
        values = {name: _cell(_string(row.values.get(name, ""))) for name in self._own}
        self._writer.writerow(values | answers)


def _string(value: object) -> str:
    if value is None:
        return ""
    nested = isinstance(value, dict | list | bool)
    return json.dumps(value, default=_plain) if nested else _plain(value)


def _cell(value: object) -> object:
    """Return the content of a cell."""
    if isinstance(value, dict):
        return json.dumps(value)
    return LONE_SURROGATE.sub("\ufffd", value) if isinstance(value, str) else value


def _renamed(added: dict[str, object], taken: dict[str, object]) -> dict[str, object]:
    return {_free_name(name, taken): value for name, value in added.items()}


def _free_name(name: str, taken: dict[str, object]) -> str:
    return _free_name(f"predicted_{name}", taken) if name in taken else name
