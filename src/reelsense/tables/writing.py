"""Write tables row by row, with columns added: .csv, .tsv, .jsonl, .txt, Parquet.

Knows files and columns; does not know what is in the columns.
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

Answered = tuple[Row, dict[str, object]]
"""A row, and what is added to it."""


@dataclass(frozen=True, slots=True)
class OutputSchema:
    """How a table is written."""

    kind: FileFormat
    added: tuple[str, ...]
    """The names of what is added to every row."""
    columns: tuple[str, ...] = ()
    """The names of what the rows hold themselves; .jsonl and .txt need not know."""
    schema: pa.Schema | None = None
    """Of the rows themselves, where they come from Parquet."""

    @property
    def has_columns(self) -> bool:
        """Say whether all rows of such a table have the same columns."""
        return self.kind.suffix not in (".jsonl", ".txt")


class Writer(Protocol):
    """Writes rows."""

    def write(self, row: Row, added: dict[str, object]) -> None:
        """Write `row` with what is `added`.

        Where the row has a column of that name already, ours is called predicted_label and so on.
        """


def writer(file: IO[str], kind: str, columns: Sequence[str] = ()) -> Writer:
    """Return what writes a table of the `kind` to `file`: .csv, .tsv, .jsonl or .txt.

    If the rows' own `columns` are given, no line with the names of the columns is written.
    """
    if kind == ".txt":
        return _Text(file)
    return _Json(file) if kind == ".jsonl" else _Csv(file, "\t" if kind == ".tsv" else ",", columns)


def encode(layout: OutputSchema, rows: Sequence[Answered], *, header: bool) -> bytes:
    """Return a table of `rows`; a .csv or .tsv without `header` lacks the names of the columns."""
    buffer = io.BytesIO()
    if layout.kind.suffix == PARQUET:
        names = dict(zip(layout.added, _names(layout), strict=True))
        parquet.encode(rows, layout.columns, names, layout.schema, buffer)
        return buffer.getvalue()
    text = io.TextIOWrapper(buffer, encoding="utf-8", newline="")
    if header:
        text.write(_header(layout))
    table = writer(text, layout.kind.suffix, layout.columns)
    for row, added in rows:
        table.write(row, added)
    text.flush()
    return _packed(layout, buffer.getvalue())


def empty(layout: OutputSchema) -> bytes:
    """Return a table without rows: the names of the columns, where they are known."""
    return encode(layout, [], header=bool(layout.columns))


def join(layout: OutputSchema, pieces: Iterable[IO[bytes]], target: IO[bytes]) -> None:
    """Write the tables of `pieces`, which have no header, as one."""
    if layout.kind.suffix == PARQUET:
        parquet.join(pieces, target)
        return
    for n, piece in enumerate(pieces):
        if n == 0 and (header := _header(layout)):
            target.write(_packed(layout, header.encode()))
        shutil.copyfileobj(piece, target, 2**20)


def _header(layout: OutputSchema) -> str:
    if not layout.has_columns:
        return ""
    line = io.StringIO(newline="")
    delimiter = "\t" if layout.kind.suffix == ".tsv" else ","
    csv.writer(line, delimiter=delimiter).writerow(map(_cell, [*layout.columns, *_names(layout)]))
    return line.getvalue()


def _names(layout: OutputSchema) -> list[str]:
    """What the added columns are called."""
    return list(_renamed(dict.fromkeys(layout.added), dict.fromkeys(layout.columns)))


def _packed(layout: OutputSchema, content: bytes) -> bytes:
    return gzip.compress(content, mtime=0) if layout.kind.compressed else content


class _Text:
    """Of every row its verdict, a line each; the line is blank where there is none."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, row: Row, added: dict[str, object]) -> None:  # noqa: ARG002  # as the others
        self._file.write(f"{added['verdict'] or ''}\n")


class _Json:
    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, row: Row, added: dict[str, object]) -> None:
        present = {name: value for name, value in added.items() if value is not None}
        self._file.write(json_line(row.values | _renamed(present, row.values)))


def json_line(values: dict[str, object]) -> str:
    """Return `values` as one line of JSON in UTF-8."""
    line = json.dumps(values, ensure_ascii=False, default=_plain)
    if LONE_SURROGATE.search(line):  # no UTF-8 can carry these; JSON's escapes can
        line = json.dumps(json.loads(line))
    return line + "\n"


def _plain(value: object) -> str:
    """What JSON holds of the values of Parquet that it does not know."""
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


class _Csv:
    """Unless they are given, the first row decides the columns."""

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
    """What a table holds of `value`."""
    if isinstance(value, dict):
        return json.dumps(value)
    return LONE_SURROGATE.sub("\ufffd", value) if isinstance(value, str) else value


def _renamed(added: dict[str, object], taken: dict[str, object]) -> dict[str, object]:
    return {_free_name(name, taken): value for name, value in added.items()}


def _free_name(name: str, taken: dict[str, object]) -> str:
    return _free_name(f"predicted_{name}", taken) if name in taken else name
