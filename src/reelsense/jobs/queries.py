"""Answers of a job to look at: filtered, searched, sorted, a page at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select

from reelsense.jobs.database import Database
from reelsense.jobs.job import ERROR, Job
from reelsense.jobs.models import job_answers as answers
from reelsense.jobs.models import job_rows as rows
from reelsense.jobs.serialization import as_row, is_storable
from reelsense.text.clean import printable

SORTS = ("n", "score", "positive", "stars", "verdict")


@dataclass(frozen=True, slots=True)
class RowQuery:
    """Which answers to list, and how."""

    verdict: str = ""
    """A label, "unsure" or ERROR; blank: all."""
    search: str = ""
    """What is to be in the text; blank: anything."""
    sort: str = "n"
    descending: bool = False
    offset: int = 0
    limit: int = 50


@dataclass(frozen=True, slots=True)
class Listed:
    """A row and its answer."""

    n: int
    """Counted from 0."""
    line: int
    """Of the file."""
    text: str
    """With a mark in the place of what no UTF-8 can carry."""
    label: str | None
    score: float | None
    positive: float | None
    verdict: str | None
    stars: float | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the answers, and how many there are in all."""

    total: int
    rows: list[Listed]


@dataclass(frozen=True, slots=True)
class Reason:
    """Why some rows could not be scored."""

    error: str
    rows: int
    """Of how many that holds."""


def page(database: Database, job: Job, asked: RowQuery) -> Page:
    """Return the answers that are `asked` for. Raises StoreError."""
    wanted = [answers.c.job == job.id]
    if asked.verdict == ERROR:
        wanted.append(answers.c.error.is_not(None))
    elif asked.verdict:
        wanted.append(answers.c.verdict == asked.verdict)
    table: Any = answers
    both = answers.join(rows, (rows.c.job == answers.c.job) & (rows.c.n == answers.c.n))
    if not is_storable(asked.search):
        return Page(0, [])  # such texts are kept apart, and are not searched
    if asked.search:
        wanted.append(database.holds(rows.c.text, asked.search))
        table = both
    by = answers.c[asked.sort]
    order: list[Any] = [by.desc() if asked.descending else by.asc()]
    if asked.sort != "n":
        order = [by.is_(None), *order, answers.c.n]  # what has no answer comes last
    with database.reading() as connection:
        total = connection.scalar(select(func.count()).select_from(table).where(*wanted)) or 0
        numbers = select(answers.c.n).select_from(table).where(*wanted).order_by(*order)
        shown = list(connection.scalars(numbers.offset(asked.offset).limit(asked.limit)))
        # The wide rows of those alone that are shown.
        query = select(answers, rows.c.line, rows.c["values"], rows.c.text, rows.c.fault)
        query = query.select_from(both).where(answers.c.job == job.id, answers.c.n.in_(shown))
        found = {each["n"]: each for each in connection.execute(query).mappings()}
    return Page(total, [_listed(found[n], job.column) for n in shown])


def commonest(database: Database, job: Job) -> Reason | None:
    """Return why most rows of `job` could not be scored; None: all were. Raises StoreError."""
    count = func.count()
    mine = (answers.c.job == job.id) & answers.c.error.is_not(None)
    query = select(answers.c.error, count).where(mine).group_by(answers.c.error)
    with database.reading() as connection:
        query = query.order_by(count.desc(), answers.c.error).limit(1)
        found = connection.execute(query).first()
    return Reason(printable(found[0]), found[1]) if found else None


def _listed(found: Mapping[Any, Any], column: str) -> Listed:
    row = as_row(found, column)
    text = row.values.get(column)
    answer = {name: found[name] for name in ("label", "score", "positive", "verdict", "stars")}
    return Listed(
        n=found["n"],
        line=row.line,
        text=printable(text) if isinstance(text, str) else "",
        error=printable(found["error"]) if found["error"] is not None else None,
        **answer,
    )
