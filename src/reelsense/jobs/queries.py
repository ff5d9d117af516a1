"""Queries on the predictions of a job: filtered, searched, sorted, one page at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import func, select

from reelsense.jobs.database import Database
from reelsense.jobs.job import ERROR, Job
from reelsense.jobs.models import job_answers as answers
from reelsense.jobs.models import job_rows as rows
from reelsense.jobs.serialization import is_storable, row_from_record
from reelsense.tables.row import row_text
from reelsense.text.clean import printable

_MAX_TEXT = 2000  # characters: a page may have 500 rows

Sort = Literal["n", "score", "positive", "stars", "verdict"]


@dataclass(frozen=True, slots=True)
class RowQuery:
    """Filter, order and page of the rows to list."""

    verdict: str = ""  # a label, "unsure" or ERROR; blank: all rows
    search: str = ""  # only rows whose text contains this string; blank: all rows
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
    """Return the rows of `job` that match `query`. Raises StoreError."""
    if not is_storable(query.search):
        return Page(0, [])  # texts with such characters are not searchable
    joined = answers.join(rows, (rows.c.job == answers.c.job) & (rows.c.n == answers.c.n))
    source: Any = joined if query.search else answers
    conditions = [answers.c.job == job.id]
    if query.verdict == ERROR:
        conditions.append(answers.c.error.is_not(None))
    elif query.verdict:
        conditions.append(answers.c.verdict == query.verdict)
    if query.search:
        conditions.append(database.contains(rows.c.text, query.search))
    sort = answers.c[query.sort]
    order: list[Any] = [sort.desc() if query.descending else sort.asc()]
    if query.sort != "n":
        order = [sort.is_(None), *order, answers.c.n]  # rows without a value last
    matching = select(answers.c.n).select_from(source).where(*conditions)
    # Read the wide rows only of the page.
    text = func.substr(rows.c.text, 1, _MAX_TEXT).label("text")
    records = select(answers, rows.c.line, rows.c["values"], text, rows.c.fault)
    with database.reading() as connection:
        total = connection.scalar(select(func.count()).select_from(matching.subquery())) or 0
        numbers = list(
            connection.scalars(matching.order_by(*order).offset(query.offset).limit(query.limit))
        )
        records = records.select_from(joined).where(
            answers.c.job == job.id, answers.c.n.in_(numbers)
        )
        by_number = {record["n"]: record for record in connection.execute(records).mappings()}
    return Page(total, [_listed_row(by_number[n], job) for n in numbers])


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
    text, error = row_text(row_from_record(record, job), job.column), record["error"]
    return ListedRow(
        **{name: record[name] for name in names},
        text=printable(text[:_MAX_TEXT]),
        error=None if error is None else printable(error),
    )
