"""Feedback as a table: export, and import of exported or other labelled tables."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import fields
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import IO, Any

from sqlalchemy import insert, select

from reelsense.errors import DatasetError
from reelsense.feedback.records import (
    ID_PATTERN,
    Feedback,
    Predicted,
    id_from,
    seconds_from,
    storable,
    text_hash,
)
from reelsense.jobs.database import Database
from reelsense.jobs.models import feedback
from reelsense.prediction import UNSURE
from reelsense.tables.reading import FileFormat, ReadOptions, Table, file_format_of, open_table
from reelsense.tables.row import BLANK, Columns, Row
from reelsense.tables.storage import FileInfo
from reelsense.tables.writing import OutputSchema, RowWithAdded, empty, encode

_PLAIN = [field.name for field in fields(Feedback) if field.name != "predicted"]
_PREDICTED = [field.name for field in fields(Predicted)]

COLUMNS = (*_PLAIN, *(f"predicted_{name}" for name in _PREDICTED))

_CHUNK_ROWS = 1000

_HASH = re.compile("[0-9a-f]{64}")


def export_format(name: str) -> FileFormat:
    """Return the format of the file `name`. Raises DatasetError if feedback is not exported so."""
    with suppress(DatasetError):
        if (file_format := file_format_of(name)).suffix in (".csv", ".tsv", ".jsonl"):
            return file_format
    raise DatasetError(
        f"cannot export to {name}: expected .csv, .tsv or .jsonl (each also .gz)",
        code="unknown-format",
    )


def write_table(entries: Iterable[Feedback], file_format: FileFormat, target: IO[bytes]) -> int:
    """Write feedback in a format from `export_format`, and return the number of rows."""
    schema = OutputSchema(file_format, (), COLUMNS)
    count = 0
    for chunk in _chunks(entries):
        rows: list[RowWithAdded] = [(Row(n, _values(entry)), {}) for n, entry in enumerate(chunk)]
        target.write(encode(schema, rows, header=count == 0))
        count += len(chunk)
    if not count and schema.has_columns:
        target.write(empty(schema))
    return count


def _values(entry: Feedback) -> dict[str, object]:
    values: dict[str, object] = {name: getattr(entry, name) for name in _PLAIN}
    values["created"] = datetime.fromtimestamp(entry.created, UTC).isoformat()
    for name in _PREDICTED:
        values[f"predicted_{name}"] = getattr(entry.predicted, name) if entry.predicted else None
    return values


def read_records(
    path: Path,
    text_column: str | None = None,
    label_column: str | None = None,
    options: ReadOptions | None = None,
    source: str = "import",
) -> list[dict[str, Any]]:
    """Read feedback to import from a table that `write_table` wrote, or any other with labels.

    Args:
        path: The table.
        text_column: Name or number of the column with the texts; None: text.
        label_column: The same for the labels; None: label.
        options: How the table is written.
        source: The source of rows without one.

    Raises:
        DatasetError: The file cannot be read, or a row is not valid feedback, which is named.
    """
    file = FileInfo(str(path), str(path), None)
    records = []
    with open_table(file, options or ReadOptions()) as table:
        for row, _ in table.rows:
            if row.error:
                raise _invalid(path, row, row.error)
            values = _named(row, table, path, text_column, label_column)
            try:
                records.append(_record(values, source))
            except ValueError as error:
                raise _invalid(path, row, str(error)) from error
    return records


def add_records(database: Database, records: Iterable[Mapping[str, Any]]) -> int:
    """Store records from `read_records` that are not stored yet, and return their number."""
    added = 0
    for chunk in _chunks(records):
        new = {record["id"]: record for record in chunk}
        with database.writing(durable=True) as connection:
            for stored in connection.scalars(select(feedback.c.id).where(feedback.c.id.in_(new))):
                del new[stored]
            if new:
                connection.execute(insert(feedback), list(new.values()))
        added += len(new)
    return added


def _named(
    row: Row, table: Table, path: Path, text_column: str | None, label_column: str | None
) -> dict[str, Any]:
    """Return the values of a row that are not blank, by the names of COLUMNS."""
    columns = table.columns or Columns(tuple(row.values))
    names = {name: name for name in _PLAIN}
    if text_column is None and table.columns and not {"text", "text_hash"} & {*columns.names}:
        text_column = "text"  # reports that the table has no such column
    for name, column, flag in (
        ("text", text_column, "--text-column"),
        ("label", label_column, "--label-column"),
    ):
        if column is not None:
            names[name] = columns.choose(column, str(path), flag)
    values = {name: row.values.get(column) for name, column in names.items()}
    return {
        name: value
        for name, value in values.items()
        if value not in (None, "")
        and (name in ("text", "comment") or str(value).strip().lower() not in BLANK)
    }


def _record(values: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return the record of a row. Raises ValueError."""
    strings = {name: storable(str(value)) for name, value in values.items()}
    text = strings.get("text", "")
    record: dict[str, Any] = {
        "text": text if text.strip() else None,
        "text_hash": text_hash(text) if text.strip() else strings.get("text_hash", ""),
        "label": strings.get("label"),
        "stars": _stars(strings.get("stars")),
        "source": strings.get("source", source),
        **{name: strings.get(name) for name in ("comment", "key", "prediction_id")},
    }
    if not _HASH.fullmatch(record["text_hash"]):
        raise ValueError("has no text")
    if record["label"] is None and record["stars"] is None:
        raise ValueError("has neither a label nor stars: add one of them, or delete the row")
    if record["label"] == UNSURE:
        raise ValueError(f"the label {UNSURE!r} is reserved: leave it blank")
    record["id"] = strings.get("id") or _id_of(record)
    for name in ("id", "prediction_id"):
        if record[name] is not None and not re.fullmatch(ID_PATTERN, record[name]):
            raise ValueError(f"invalid {name} {record[name][:100]!r}")
    created = strings.get("created")
    return record | {"created": seconds_from(created) if created else time.time()}


def _id_of(record: Mapping[str, Any]) -> str:
    """Return an id that is the same when the same table is imported again."""
    return id_from(json.dumps(record, sort_keys=True))


def _stars(value: str | None) -> float | None:
    if value is None:
        return None
    try:
        stars = float(value)
    except ValueError:
        stars = 0
    if not 1 <= stars <= 10:
        raise ValueError(f"invalid stars {value[:100]!r}: expected a number from 1 to 10")
    return stars


def _invalid(path: Path, row: Row, problem: str) -> DatasetError:
    return DatasetError(f"{path}, line {row.line}: {problem}", code="invalid-row")


def _chunks(entries: Iterable[Any]) -> Iterator[list[Any]]:
    remaining = iter(entries)
    while chunk := list(islice(remaining, _CHUNK_ROWS)):
        yield chunk
