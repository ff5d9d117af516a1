"""The rows of jobs and their predictions in the database."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import inf
from typing import Any

from sqlalchemy import delete, insert, select

from reelsense.errors import DatasetError, NoJobError, StorageLimitError
from reelsense.jobs.database import Database
from reelsense.jobs.job import Job, NewJob
from reelsense.jobs.models import job_answers, job_columns, job_mentions, job_rows
from reelsense.jobs.serialization import (
    column_bytes,
    column_record,
    record_bytes,
    row_from_record,
    row_length,
    row_record,
)
from reelsense.summary.columns import ColumnEncoder
from reelsense.tables.row import Row
from reelsense.tables.writing import RowWithAdded

# A chunk is written or read in one transaction, so that others do not wait long.
_CHUNK_ROWS = 1000
_CHUNK_SIZE = 1_000_000  # approximate number of characters
_FIRST_CHUNK_ROWS = 16  # of a result

_MAX_CELLS = 20_000_000  # short rows are padded to the header, so a small file can have many

_ROW = [column for column in job_rows.c if column is not job_rows.c.cells]  # what a row consists of


@dataclass(slots=True)
class Stored:
    """Number and size of the stored rows of a job."""

    rows: int = 0
    characters: int = 0  # sum of `row_length`
    bytes: int = 0  # in the database
    cells: int = 0


def store_rows(
    database: Database,
    job_id: str,
    new_job: NewJob,
    rows: Iterable[Row],
    max_rows: int,
    max_bytes: Callable[[int], float],
    free_bytes: float,
) -> Stored:
    """Store the rows of a job.

    `max_bytes` returns the bytes that a number of rows may need, at most `free_bytes`. Raises
    DatasetError without rows, or with too many rows, cells or bytes, and StorageLimitError if they
    do not fit into `free_bytes`.
    """
    stored = Stored()
    encoder = ColumnEncoder(new_job.column)
    for chunk in _chunks(rows):
        for row in chunk:
            encoder.add(row)
        records = [row_record(job_id, n, row, new_job) for n, row in enumerate(chunk, stored.rows)]
        stored.rows += len(chunk)
        stored.characters += sum(row_length(row, new_job.column) for row in chunk)
        stored.bytes += sum(map(record_bytes, records))
        stored.cells += sum(len(row.values) for row in chunk)
        _check(stored, new_job.name, max_rows, max_bytes(stored.rows), free_bytes)
        database.check_space()
        with database.writing() as connection:
            connection.execute(insert(job_rows), records)
    if not stored.rows:
        raise DatasetError(f"{new_job.name} contains no rows", code="no-rows")
    for n, column in enumerate(encoder.columns()):
        stored.bytes += column_bytes(column)
        _check(stored, new_job.name, max_rows, inf, free_bytes)
        with database.writing() as connection:
            connection.execute(insert(job_columns).values(column_record(job_id, n, column)))
    return stored


def _check(stored: Stored, name: str, max_rows: int, max_bytes: float, free_bytes: float) -> None:
    if stored.rows > max_rows:
        raise DatasetError(f"{name} has more than {max_rows:,} rows", code="too-many-rows")
    if stored.cells > _MAX_CELLS:
        raise DatasetError(f"{name} has more than {_MAX_CELLS:,} cells", code="too-many-cells")
    if stored.bytes > max_bytes:
        raise DatasetError(
            f"{name} needs many times its size to be stored: remove columns that are not needed",
            code="expands",
        )
    if stored.bytes > free_bytes:
        raise StorageLimitError(
            f"{name} needs more than the {free_bytes:,.0f} bytes that are left for jobs: delete a "
            "job or try again later"
        )


def _chunks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    chunk: list[Row] = []
    size = 0
    for row in rows:
        chunk.append(row)
        size += row.size
        if len(chunk) == _CHUNK_ROWS or size > _CHUNK_SIZE:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def read_rows(database: Database, job: Job, start: int, count: int) -> list[Row]:
    """Return at most `count` rows of `job` from row `start`, counted from 0."""
    with database.reading() as connection:
        records = connection.execute(_slice(select(*_ROW), job, start, count)).mappings()
        return [row_from_record(record, job) for record in records]


def read_results(database: Database, job: Job) -> Iterator[list[RowWithAdded]]:
    """Yield the rows that are done, in order and in chunks of about a million characters.

    Raises NoJobError if the job is deleted while it is being read: a partial result would look
    complete.
    """
    names = (*job.added, "error")
    same_row = (job_answers.c.job == job_rows.c.job) & (job_answers.c.n == job_rows.c.n)
    query = select(*_ROW, *(job_answers.c[name] for name in names)).join(job_answers, same_row)
    start, count = 0, _FIRST_CHUNK_ROWS
    while start < job.done:
        count = min(count, job.done - start)
        with database.reading() as connection:
            records = connection.execute(_slice(query, job, start, count)).mappings().all()
        if len(records) < count:
            raise NoJobError("the job was deleted while its result was read")
        yield [
            (row_from_record(record, job), {name: record[name] for name in names})
            for record in records
        ]
        start += count
        # A row may have ten characters or a million: read more short rows at a time.
        size = sum(len(str(value)) for record in records for value in record.values())
        count = max(1, min(2 * count, count * _CHUNK_SIZE // size, _CHUNK_ROWS))


def erase(database: Database, job_id: str) -> None:
    """Delete the rows of a job and their predictions."""
    for table in (job_mentions, job_columns, job_answers, job_rows):
        chunk = select(table.c.n).where(table.c.job == job_id).limit(5 * _CHUNK_ROWS)
        change = delete(table).where(table.c.job == job_id, table.c.n.in_(chunk.scalar_subquery()))
        is_left = True
        while is_left:
            with database.writing() as connection:
                is_left = connection.execute(change).rowcount > 0


def _slice(query: Any, job: Job, start: int, count: int) -> Any:
    n = job_rows.c.n
    return query.where(job_rows.c.job == job.id, n >= start, n < start + count).order_by(n)
