"""Read and write Parquet files with pyarrow, from the extra [parquet]."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import IO, TYPE_CHECKING, Any

from reelsense.errors import DatasetError
from reelsense.extras import importable
from reelsense.tables.delimited import Row
from reelsense.tables.io_errors import io_errors
from reelsense.text.clean import LONE_SURROGATE

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH_ROWS = 1024

_NUMBERS = ("score", "positive", "stars")
"""Added columns that contain numbers."""


@contextmanager
def table(file: IO[bytes], name: str) -> Iterator[tuple[Iterator[Row], int]]:
    """Open a Parquet file: its rows and their count. Raises DatasetError if it is damaged."""
    opened = _opened(file, name)
    yield _rows(opened, name), opened.metadata.num_rows


def schema(file: IO[bytes], name: str) -> pa.Schema:
    """Return the Arrow schema of a Parquet file, as `table` reads it."""
    return _readable(_opened(file, name).schema_arrow).remove_metadata()


def encode(
    rows: Iterable[tuple[Row, dict[str, object]]],
    columns: Sequence[str],
    added: dict[str, str],
    given: pa.Schema | None,
    target: IO[bytes],
) -> None:
    """Write rows as a Parquet file.

    Args:
        rows: Each with the values that are added to it.
        columns: Of the rows.
        added: Output column names by names of added values.
        given: The Arrow schema of the rows; None: text columns.
        target: The file.

    Raises:
        DatasetError: A value does not have the type of its column.
    """
    import pyarrow as pa

    kept = given or pa.schema([(name, pa.string()) for name in columns])
    ours = pa.schema([(new, _type(name)) for name, new in added.items()])
    plain = (lambda value: value) if given else _text
    lists: dict[str, list[object]] = {name: [] for name in [*kept.names, *ours.names]}
    for row, answer in rows:
        for name in kept.names:
            lists[name].append(plain(row.values.get(name)))
        for name, new in added.items():
            lists[new].append(answer[name] if name in _NUMBERS else _text(answer[name]))
    full_schema = pa.unify_schemas([kept, ours])
    try:
        columns = [pa.array(lists[field.name], field.type) for field in full_schema]
    except (pa.ArrowException, TypeError, OverflowError) as error:
        raise DatasetError(
            f"a value has another type than its column: {error}", code="wrong-type"
        ) from error
    imported().write_table(pa.table(columns, full_schema), target)


def join(pieces: Iterable[IO[bytes]], target: IO[bytes]) -> None:
    """Join tables, at least one; each becomes a row group."""
    parquet = imported()
    writer = None
    for piece in pieces:
        read = parquet.read_table(piece)
        writer = writer or parquet.ParquetWriter(target, read.schema)
        writer.write_table(read)
    if writer:
        writer.close()


def _opened(file: IO[bytes], name: str) -> Any:
    parquet = imported()
    with _parquet_errors(name):
        opened = parquet.ParquetFile(file)
    names = opened.schema_arrow.names
    if twice := [column for column in names if names.count(column) > 1]:
        raise DatasetError(
            f"{name}: two columns have the same name: {twice[0]!r}", code="duplicate-column"
        )
    return opened


def _rows(opened: Any, name: str) -> Iterator[Row]:
    readable = _readable(opened.schema_arrow)
    number = 0
    with _parquet_errors(name):
        for batch in opened.iter_batches(batch_size=_BATCH_ROWS):
            for values in batch.cast(readable).to_pylist():
                number += 1
                yield Row(number, values)


def _readable(schema: pa.Schema) -> pa.Schema:
    """Return types that Python supports: microseconds instead of nanoseconds, no dictionaries."""
    import pyarrow as pa

    for n, field in enumerate(schema):
        if pa.types.is_timestamp(field.type) and field.type.unit == "ns":
            schema = schema.set(n, field.with_type(pa.timestamp("us", field.type.tz)))
        elif pa.types.is_dictionary(field.type):
            schema = schema.set(n, field.with_type(field.type.value_type))
    return schema


def _type(name: str) -> pa.DataType:
    import pyarrow as pa

    return pa.float64() if name in _NUMBERS else pa.string()


def _text(value: object) -> str | None:
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value)
    return LONE_SURROGATE.sub("\ufffd", text)


def imported() -> Any:
    """Return what reads and writes Parquet. Raises MissingExtraError if it is not installed."""
    importable("pyarrow", "parquet", "Parquet")
    import pyarrow.parquet

    return pyarrow.parquet


def _parquet_errors(name: str) -> AbstractContextManager[None]:
    return io_errors(name, "read as Parquet", "damaged-file")
