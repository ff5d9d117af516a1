"""Read and write Parquet files with pyarrow, from the extra [parquet]."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import IO, TYPE_CHECKING, Any

from reelsense.errors import DatasetError
from reelsense.extras import importable
from reelsense.tables.row import Columns, Row
from reelsense.tables.storage import io_errors
from reelsense.text.clean import LONE_SURROGATE

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH_ROWS = 1024
_BATCH_BYTES = 8_000_000  # approximate memory of the rows that are read at a time
_MAX_ROW_BYTES = 100_000_000

_NUMBERS = ("score", "positive", "stars")  # added columns that contain numbers


def read(file: IO[bytes], name: str) -> tuple[Columns, Iterator[tuple[Row, float]]]:
    """Return the columns and rows of a Parquet file, each row with the fraction that has been read.

    Raises DatasetError if the file is damaged, also while the rows are read.
    """
    opened = _open(file, name, keep_dictionaries=True)
    return Columns(tuple(opened.schema_arrow.names)), _rows(opened, name)


def _rows(opened: Any, name: str) -> Iterator[tuple[Row, float]]:
    readable = _readable(opened.schema_arrow)
    number = 0
    with _parquet_errors(name):
        for batch in opened.iter_batches(batch_size=_batch_rows(opened.metadata)):
            for part in _parts(batch):
                for values in part.cast(readable).to_pylist():
                    number += 1
                    yield Row(number, values), number / opened.metadata.num_rows


def schema(file: IO[bytes], name: str) -> pa.Schema:
    """Return the Arrow schema of the rows of a Parquet file."""
    return _readable(_open(file, name).schema_arrow).remove_metadata()


def inferred(rows: Sequence[dict[str, object]], names: Sequence[str]) -> pa.Schema:
    """Return an Arrow schema for JSON values: text where the values of a column have no type."""
    import pyarrow as pa

    fields = []
    for name in names:
        try:
            found = pa.array([row.get(name) for row in rows]).type
        except (pa.ArrowException, TypeError, OverflowError):
            found = pa.string()
        fields.append(pa.field(name, pa.string() if pa.types.is_null(found) else found))
    return pa.schema(fields)


def fits(value: object, type_: pa.DataType) -> bool:
    """Return whether a value can be stored in a column of this Arrow type."""
    import pyarrow as pa

    try:
        pa.scalar(value, type_)
    except (pa.ArrowException, TypeError, OverflowError):
        return bool(pa.types.is_string(type_))  # stored as JSON
    return True


def encode(
    rows: Iterable[tuple[Row, dict[str, object]]],
    columns: Sequence[str],
    added: dict[str, str],
    types: pa.Schema | None,
    target: IO[bytes],
) -> None:
    """Write rows, each with its added values, as a Parquet file.

    `added` maps the names of added values to output columns. Without `types`, the Arrow schema of
    the rows, their `columns` become text. Raises DatasetError if a value does not have its type.
    """
    import pyarrow as pa

    kept = types or pa.schema([(name, pa.string()) for name in columns])
    ours = pa.schema([(new, _type(name)) for name, new in added.items()])
    lists: dict[str, list[object]] = {name: [] for name in [*kept.names, *ours.names]}
    for row, values in rows:
        for field in kept:
            value = row.values.get(field.name)
            if pa.types.is_string(field.type):
                value = _text(value)
            elif row.error and not fits(value, field.type):
                value = None
            lists[field.name].append(value)
        for name, new in added.items():
            lists[new].append(values[name] if name in _NUMBERS else _text(values[name]))
    full_schema = pa.unify_schemas([kept, ours])
    try:
        arrays = [pa.array(lists[field.name], field.type) for field in full_schema]
    except (pa.ArrowException, TypeError, OverflowError) as error:
        raise DatasetError(
            f"a value has another type than its column: {error}", code="wrong-type"
        ) from error
    imported().write_table(pa.table(arrays, full_schema), target)


def join(pieces: Iterable[IO[bytes]], target: IO[bytes]) -> None:
    """Join tables, at least one; each becomes a row group."""
    parquet = imported()
    writer = None
    for piece in pieces:
        table = parquet.read_table(piece)
        writer = writer or parquet.ParquetWriter(target, table.schema)
        writer.write_table(table)
    if writer:
        writer.close()


def count_rows(file: IO[bytes]) -> int:
    """Return the number of rows of a Parquet file."""
    return int(imported().ParquetFile(file).metadata.num_rows)


def imported() -> Any:
    """Return the module pyarrow.parquet. Raises MissingExtraError if it is not installed."""
    importable("pyarrow", "parquet", "Parquet")
    import pyarrow.parquet

    return pyarrow.parquet


def _batch_rows(metadata: Any) -> int:
    """Return the number of rows of average length that fit into a batch."""
    groups = [metadata.row_group(n) for n in range(metadata.num_row_groups)]
    row_bytes = max(
        (group.total_byte_size // max(1, group.num_rows) for group in groups), default=0
    )
    return max(1, min(_BATCH_ROWS, _BATCH_BYTES // max(1, row_bytes)))


def _parts(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Split a batch: a file of a kilobyte can repeat one value of a megabyte in every row.

    Raises DatasetError if a single row is too large.
    """
    size = sum(map(_value_bytes, batch.columns))
    if size <= _BATCH_BYTES or batch.num_rows == 1:
        if size > _MAX_ROW_BYTES:
            raise DatasetError(
                f"a row has {size:,} bytes: the limit is {_MAX_ROW_BYTES:,}", code="row-too-large"
            )
        yield batch
        return
    half = batch.num_rows // 2
    yield from _parts(batch.slice(0, half))
    yield from _parts(batch.slice(half))


def _value_bytes(array: pa.Array) -> int:
    """Return the size of the values; those of a dictionary count as often as they occur."""
    import pyarrow as pa
    import pyarrow.compute as pc

    types = pa.types
    if types.is_dictionary(array.type) and _is_text(array.type.value_type):
        lengths = pc.binary_length(array.dictionary)
        return pc.sum(pc.take(lengths, array.indices)).as_py() or 0
    if types.is_list(array.type) or types.is_large_list(array.type) or types.is_map(array.type):
        return _value_bytes(array.flatten() if not types.is_map(array.type) else array.items)
    if types.is_struct(array.type):
        return sum(map(_value_bytes, array.flatten()))
    return int(array.nbytes)


def _open(file: IO[bytes], name: str, *, keep_dictionaries: bool = False) -> Any:
    """Open a file; with `keep_dictionaries`, repeated texts are in memory once."""
    parquet = imported()
    with _parquet_errors(name):
        opened = parquet.ParquetFile(file)
        if keep_dictionaries:
            columns = [opened.schema.column(n) for n in range(len(opened.schema.names))]
            texts = [column.path for column in columns if column.physical_type == "BYTE_ARRAY"]
            opened = parquet.ParquetFile(file, metadata=opened.metadata, read_dictionary=texts)
    names = opened.schema_arrow.names
    if repeated := [column for column in names if names.count(column) > 1]:
        raise DatasetError(
            f"{name}: two columns have the same name: {repeated[0]!r}", code="duplicate-column"
        )
    return opened


def _is_text(type_: pa.DataType) -> bool:
    import pyarrow as pa

    types = pa.types
    return any(
        is_type(type_)
        for is_type in (
            types.is_string,
            types.is_binary,
            types.is_large_string,
            types.is_large_binary,
        )
    )


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


def _parquet_errors(name: str) -> AbstractContextManager[None]:
    return io_errors(name, "read as Parquet", "damaged-file")
