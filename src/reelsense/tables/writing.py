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
from typing import IO, TYPE_CHECKING

from reelsense.tables import parquet, reading
from reelsense.tables.reading import FileFormat
from reelsense.tables.records import MAX_FIELD
from reelsense.tables.row import Row
from reelsense.text.clean import LONE_SURROGATE

if TYPE_CHECKING:
    import pyarrow as pa

RowWithAdded = tuple[Row, dict[str, object]]
"""A row, and the values that are added to it."""


@dataclass(frozen=True, slots=True)
class OutputSchema:
    """The format and columns of an output table."""

    format: FileFormat
    added: tuple[str, ...]  # names of the columns that are added to every row
    columns: tuple[str, ...] = ()  # names of the columns of the rows; unused for .jsonl and .txt
    types: pa.Schema | None = None  # Arrow schema of the rows, for Parquet
    header: tuple[str, ...] = ()  # the columns of the rows as written: names may occur twice

    @property
    def has_columns(self) -> bool:
        """Whether all rows of such a table have the same columns."""
        return self.format.suffix not in (".jsonl", ".txt")


def encode(schema: OutputSchema, rows: Sequence[RowWithAdded], *, header: bool) -> bytes:
    """Return the content of a file with `rows`; `header` is for .csv and .tsv.

    If a row has a column with the name of an added one, the added one is called predicted_label
    and so on.
    """
    match schema.format.suffix:
        case reading.PARQUET:
            buffer = io.BytesIO()
            names = dict(zip(schema.added, _names(schema), strict=True))
            parquet.encode(rows, schema.columns, names, schema.types, buffer)
            return buffer.getvalue()
        case ".txt":  # one verdict per line; the line of a bad row is blank
            text = "".join(f"{added['verdict'] or ''}\n" for _, added in rows)
        case ".jsonl":
            text = "".join(_json_row(row, added) for row, added in rows)
        case _:
            lines = (_cells(schema, row, added) for row, added in rows)
            text = (_header(schema) if header else "") + _delimited(schema, lines)
    return _compressed(schema, text)


def count_rows(schema: OutputSchema, file: IO[bytes], *, header: bool) -> int:
    """Return the number of rows in a file that `encode` or `join` wrote."""
    if schema.format.suffix == reading.PARQUET:
        return parquet.count_rows(file)
    content = gzip.GzipFile(fileobj=file) if schema.format.compressed else file
    text = io.TextIOWrapper(content, "utf-8", newline="")
    if schema.has_columns:
        csv.field_size_limit(MAX_FIELD)
        delimiter = "\t" if schema.format.suffix == ".tsv" else ","
        count = sum(1 for _ in csv.reader(text, delimiter=delimiter)) - header
    else:
        count = sum(1 for _ in text)
    text.detach()  # the caller closes the file
    return count


def empty(schema: OutputSchema) -> bytes:
    """Return the content of a file without rows: a header, if the columns are known."""
    return encode(schema, [], header=bool(schema.columns))


def join(schema: OutputSchema, pieces: Iterable[IO[bytes]], target: IO[bytes]) -> None:
    """Join tables without headers into one with a header."""
    if schema.format.suffix == reading.PARQUET:
        parquet.join(pieces, target)
        return
    for n, piece in enumerate(pieces):
        if n == 0 and schema.has_columns:
            target.write(_compressed(schema, _header(schema)))
        shutil.copyfileobj(piece, target, 2**20)


def _header(schema: OutputSchema) -> str:
    return _delimited(schema, [map(cell, [*(schema.header or schema.columns), *_names(schema)])])


def _delimited(schema: OutputSchema, rows: Iterable[Iterable[object]]) -> str:
    buffer = io.StringIO(newline="")
    delimiter = "\t" if schema.format.suffix == ".tsv" else ","
    csv.writer(buffer, delimiter=delimiter).writerows(rows)
    return buffer.getvalue()


def _cells(schema: OutputSchema, row: Row, added: dict[str, object]) -> list[object]:
    return [
        *(cell(as_string(row.values.get(name, ""))) for name in schema.columns),
        *(cell(added[name]) for name in schema.added),
    ]


def _names(schema: OutputSchema) -> list[str]:
    """Return the output names of the added columns."""
    taken = dict.fromkeys([*schema.columns, *schema.header])
    return list(_renamed(dict.fromkeys(schema.added), taken))


def _compressed(schema: OutputSchema, text: str) -> bytes:
    content = text.encode()
    return gzip.compress(content, mtime=0) if schema.format.compressed else content


def _json_row(row: Row, added: dict[str, object]) -> str:
    present = {name: value for name, value in added.items() if value is not None}
    return json_line(row.values | _renamed(present, row.values))


def json_line(values: dict[str, object]) -> str:
    """Return `values` as one line of JSON that can be encoded in UTF-8."""
    line = json.dumps(values, ensure_ascii=False, default=_plain)
    if LONE_SURROGATE.search(line):  # UTF-8 cannot encode them; JSON escapes can
        line = json.dumps(json.loads(line))
    return line + "\n"


def _plain(value: object) -> str:
    """Return a JSON value for a Parquet value that JSON does not have."""
    if not isinstance(value, bytes):
        return str(value)
    try:
        return value.decode()
    except UnicodeDecodeError:
        return base64.b64encode(value).decode()


def as_string(value: object) -> str:
    """Return a value as the content of a cell; nested values as JSON."""
    if value is None:
        return ""
    nested = isinstance(value, dict | list | bool)
    return json.dumps(value, default=_plain) if nested else _plain(value)


def cell(value: object) -> object:
    """Return a value as the csv module should write it."""
    if isinstance(value, dict):
        return json.dumps(value)
    return LONE_SURROGATE.sub("\ufffd", value) if isinstance(value, str) else value


def _renamed(added: dict[str, object], taken: dict[str, object]) -> dict[str, object]:
    return {_free_name(name, taken): value for name, value in added.items()}


def _free_name(name: str, taken: dict[str, object]) -> str:
    return _free_name(f"predicted_{name}", taken) if name in taken else name
