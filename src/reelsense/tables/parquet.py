"""Tables as Parquet files: read and written with pyarrow, the extra [parquet]."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

from reelsense.errors import DatasetError, MissingExtraError
from reelsense.tables.delimited import Row
from reelsense.text.clean import LONE_SURROGATE

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS = 1024
"""Read at a time."""

_NUMBERS = ("score", "positive", "stars")
"""What we add that is no text."""


@contextmanager
def table(file: IO[bytes], name: str) -> Iterator[tuple[Iterator[Row], int]]:
    """Open `file`: its rows, and how many there are. Raises DatasetError if it is no Parquet."""
    opened = _opened(file, name)
    yield _rows(opened, name), opened.metadata.num_rows


def schema(file: IO[bytes], name: str) -> pa.Schema:
    """Return the columns of `file` and their types, as they are read."""
    return _readable(_opened(file, name).schema_arrow).remove_metadata()


def encode(
    rows: Iterable[tuple[Row, dict[str, object]]],
    columns: Sequence[str],
    added: dict[str, str],
    given: pa.Schema | None,
    target: IO[bytes],
) -> None:
    """Write `rows` with what is added: `added` has the name of each column of it.

    The `columns` of the rows have the types of `given`; without, they are text.
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
    whole = pa.unify_schemas([kept, ours])
    try:
        columns = [pa.array(lists[field.name], field.type) for field in whole]
    except (pa.ArrowException, TypeError, OverflowError) as error:
        raise DatasetError(f"a row has a value of another type than its column: {error}") from error
    imported().write_table(pa.table(columns, whole), target)


def join(pieces: Iterable[IO[bytes]], target: IO[bytes]) -> None:
    """Write the tables of `pieces`, at least one, as one, each a row group of it."""
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
    with _told(name):
        opened = parquet.ParquetFile(file)
    names = opened.schema_arrow.names
    if twice := [each for each in names if names.count(each) > 1]:
        raise DatasetError(f"{name}: two columns have the same name: {twice[0]!r}")
    return opened


def _rows(opened: Any, name: str) -> Iterator[Row]:
    readable = _readable(opened.schema_arrow)
    number = 0
    with _told(name):
        for batch in opened.iter_batches(batch_size=_ROWS):
            for values in batch.cast(readable).to_pylist():
                number += 1
                yield Row(number, values)


def _readable(found: pa.Schema) -> pa.Schema:
    """Return `found` with what Python can hold: of nanoseconds, microseconds if nothing is lost."""
    import pyarrow as pa

    for n, field in enumerate(found):
        if pa.types.is_timestamp(field.type) and field.type.unit == "ns":
            found = found.set(n, field.with_type(pa.timestamp("us", field.type.tz)))
        elif pa.types.is_dictionary(field.type):
            found = found.set(n, field.with_type(field.type.value_type))
    return found


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
    try:
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "Parquet needs pyarrow, which is not installed: pip install 'reelsense[parquet]', or "
            "in a clone: pip install --constraint constraints.txt '.[parquet]'"
        ) from error
    return pyarrow.parquet


@contextmanager
def _told(name: str) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise DatasetError(
            f"{name} cannot be read as Parquet: {error}", code="damaged-file"
        ) from error
