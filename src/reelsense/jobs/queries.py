"""Queries on the predictions of a job: filtered, searched, sorted, one page at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, false, func, or_, select

from reelsense.errors import InputError
from reelsense.jobs.database import Database
from reelsense.jobs.job import Job
from reelsense.jobs.models import job_answers as answers
from reelsense.jobs.models import job_columns as columns
from reelsense.jobs.models import job_rows as rows
from reelsense.jobs.serialization import is_storable, row_from_record
from reelsense.prediction import ERROR
from reelsense.summary.columns import Column, Kind, other_cells
from reelsense.tables.row import quoted, row_text
from reelsense.text.clean import printable

_MAX_TEXT, _MAX_CELL = 2000, 200  # characters: a page may have 500 rows

_JOINED = answers.join(rows, (rows.c.job == answers.c.job) & (rows.c.n == answers.c.n))

Sort = Literal["n", "score", "positive", "stars", "verdict"]


@dataclass(frozen=True, slots=True)
class RowQuery:
    """Filter, order and page of the rows to list."""

    verdict: str = ""  # a label, "unsure" or ERROR; blank: all rows
    search: str = ""  # only rows of which a cell contains this string; blank: all rows
    column: str = ""  # only rows with `value` in this column; blank: all rows
    value: str = ""
    sort: Sort = "n"
    descending: bool = False
    offset: int = 0
    limit: int = 50


@dataclass(frozen=True, slots=True)
class ListedRow:
    """A row and its prediction. Characters that UTF-8 cannot encode are replaced."""

    n: int  # row number, starting at 0
    line: int  # first line of the row in the file
    text: str  # at most 2,000 characters
    label: str | None
    score: float | None
    positive: float | None
    verdict: str | None
    stars: float | None
    error: str | None  # why the row could not be scored
    values: dict[str, str]  # the other columns, each with at most 200 characters


@dataclass(frozen=True, slots=True)
class Page:
    """One page of rows, and the number of matching rows on all pages."""

    total: int
    rows: list[ListedRow]


@dataclass(frozen=True, slots=True)
class ErrorCount:
    """An error, and the number of rows that have it."""

    error: str
    rows: int


def page(database: Database, job: Job, query: RowQuery) -> Page:
    """Return the rows of `job` that match `query`. Raises InputError or StoreError."""
    matching = _matching(database, job, query)
    window = slice(query.offset, query.offset + query.limit)
    with database.reading() as connection:
        if query.column or query.search:  # read all numbers: counting takes as long
            found = _with_value(connection, job, query, connection.scalars(matching).all())
            total, numbers = len(found), found[window]
        else:
            total = connection.scalar(select(func.count()).select_from(matching.subquery())) or 0
            selected = matching.offset(query.offset).limit(query.limit)
            numbers = connection.scalars(selected).all()
        by_number = listed_rows(connection, job, numbers)
    return Page(total, [by_number[n] for n in numbers])


def listed_rows(connection: Connection, job: Job, numbers: Sequence[int]) -> dict[int, ListedRow]:
    """Return rows of `job` by their numbers."""
    text = func.substr(rows.c.text, 1, _MAX_TEXT).label("text")
    query = select(answers, rows.c.line, rows.c["values"], text, rows.c.fault)
    query = query.select_from(_JOINED).where(answers.c.job == job.id, answers.c.n.in_(numbers))
    records = connection.execute(query).mappings()
    return {record["n"]: _listed_row(record, job) for record in records}


def rows_with(database: Database, job: Job, search: str) -> NDArray[np.intp]:
    """Return the numbers of the rows of which a cell contains `search`, in ascending order."""
    with database.reading() as connection:
        numbers = connection.scalars(_matching(database, job, RowQuery(search=search))).all()
    return np.array(numbers, np.intp)


def _matching(database: Database, job: Job, query: RowQuery) -> Any:
    """Return the query for the numbers of the rows that match, apart from the column, in order."""
    conditions = [answers.c.job == job.id]
    if query.verdict == ERROR:
        conditions.append(answers.c.error.is_not(None))
    elif query.verdict:
        conditions.append(answers.c.verdict == query.verdict)
    if not is_storable(query.search):
        conditions.append(false())  # texts with such characters are not searchable
    elif query.search:
        searched = (rows.c.text, rows.c.cells)
        conditions.append(or_(*(database.contains(cell, query.search) for cell in searched)))
    sort = answers.c[query.sort]
    order: list[Any] = [sort.desc() if query.descending else sort.asc()]
    if query.sort != "n":
        order = [sort.is_(None), *order, answers.c.n]  # rows without a value last
    source = _JOINED if query.search else answers
    return select(answers.c.n).select_from(source).where(*conditions).order_by(*order)


def _with_value(
    connection: Connection, job: Job, query: RowQuery, numbers: Sequence[int]
) -> Sequence[int]:
    """Return those of the rows `numbers` that have the value of the query in its column, if any."""
    if not query.column:
        return numbers
    has_value = read_column(connection, job, query.column).has_value(query.value).tolist()
    return [n for n in numbers if has_value[n]]


def check_column(database: Database, job: Job, name: str | None) -> None:
    """Raise InputError if `name` is not a column that rows can be grouped by; blank: no column."""
    with database.reading() as connection:
        if name and name not in column_kinds(connection, job):
            raise _no_column(connection, job, name)


def column_kinds(connection: Connection, job: Job) -> dict[str, Kind]:
    """Return the names of the columns that rows can be grouped by, and their kinds."""
    query = select(columns.c.name, columns.c.kind).where(columns.c.job == job.id)
    return dict(connection.execute(query.order_by(columns.c.n)).all())


def read_column(connection: Connection, job: Job, name: str) -> Column:
    """Return a column that rows can be grouped by. Raises InputError if it does not exist."""
    query = select(columns).where(columns.c.job == job.id, columns.c.name == name)
    record = connection.execute(query).mappings().first()
    if record is None:
        raise _no_column(connection, job, name)
    values, codes = record["content"]
    return Column(name, record["kind"], values, np.array(codes, np.int32))


def _no_column(connection: Connection, job: Job, name: str) -> InputError:
    names = quoted(list(column_kinds(connection, job))) or "none: its rows cannot be grouped"
    return InputError(
        f"no column {name[:100]!r} to group by; expected one of {names}", code="no-such-column"
    )


def most_common_error(database: Database, job: Job) -> ErrorCount | None:
    """Return the most common error of the rows of `job`. None: no errors. Raises StoreError."""
    count = func.count()
    query = (
        select(answers.c.error, count)
        .where(answers.c.job == job.id, answers.c.error.is_not(None))
        .group_by(answers.c.error)
        .order_by(count.desc(), answers.c.error)
        .limit(1)
    )
    with database.reading() as connection:
        record = connection.execute(query).first()
    return ErrorCount(printable(record[0]), record[1]) if record else None


def _listed_row(record: Any, job: Job) -> ListedRow:
    names = ("n", "line", "label", "score", "positive", "verdict", "stars")
    row, error = row_from_record(record, job), record["error"]
    text = row_text(row, job.column)
    return ListedRow(
        **{name: record[name] for name in names},
        text=printable(text[:_MAX_TEXT]),
        error=None if error is None else printable(error),
        values={name: cell[:_MAX_CELL] for name, cell in other_cells(row, job.column).items()},
    )
