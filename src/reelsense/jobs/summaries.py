"""The summary of a job, of all its rows or of those that match a query."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from sqlalchemy import Connection, select

from reelsense.errors import InputError, JobStateError
from reelsense.inference.aspects import has_aspects
from reelsense.jobs.database import Database
from reelsense.jobs.job import Job
from reelsense.jobs.models import job_answers as answers
from reelsense.jobs.models import job_mentions as mentions
from reelsense.jobs.queries import (
    RowQuery,
    column_kinds,
    listed_rows,
    read_column,
    rows_with,
)
from reelsense.summary.aspects import Mention, sample_step
from reelsense.summary.notable import MAX_EXCERPT, ReadRow
from reelsense.summary.results import Summary
from reelsense.summary.scored import ScoredRows
from reelsense.summary.summarize import ScoredTable, summarize


def job_summary(
    database: Database,
    job: Job,
    query: RowQuery,
    group_column: str | None = None,
    label: str | None = None,
) -> Summary:
    """Return the summary of the rows of `job` that are done and match `query`.

    Args:
        database: Contains the job.
        job: A job that has begun.
        query: Selects the rows; its order and page are ignored.
        group_column: The column to group by; None: a suitable one.
        label: The label whose share is compared; None: positive, or the first one.

    Raises:
        JobStateError: The job has not begun.
        InputError: The job has no such column or label.
        StoreError: The database fails.
    """
    if not job.labels:
        raise JobStateError("the job has not begun: try again later", code="job-not-begun")
    if label is not None and label not in job.labels:
        raise InputError(
            f"no label {label[:100]!r}; expected one of {', '.join(job.labels)}",
            code="unknown-label",
        )
    scored = _scored(database, job.id, job.version, job.done, job.labels)
    rows = np.arange(len(scored.verdicts))
    if query.search:
        found = rows_with(database, job, query.search)
        rows = found[found < len(rows)]  # more may be done meanwhile
    with database.reading() as connection:
        if query.verdict:
            rows = rows[scored.has_verdict(query.verdict)[rows]]
        if query.column:
            column = read_column(connection, job, query.column)
            rows = rows[column.has_value(query.value)[rows]]
        table = ScoredTable(
            scored=scored,
            kinds=column_kinds(connection, job),
            load=lambda name: read_column(connection, job, name),
            mentions=_mentions(connection, job) if has_aspects(job.labels) else None,
            step=sample_step(job.rows),
            read=lambda numbers: _read(connection, job, numbers),
        )
        return summarize(table, rows, group_column, label)


@lru_cache(maxsize=4)  # a page asks again for every filter
def _scored(
    database: Database, job_id: str, _version: str | None, done: int, labels: tuple[str, ...]
) -> ScoredRows:
    """Return the predictions for the first `done` rows of a job by the version of its model."""
    query = (
        select(answers.c.verdict, answers.c.score, answers.c.stars)
        .where(answers.c.job == job_id, answers.c.n < done)
        .order_by(answers.c.n)
    )
    with database.reading() as connection:
        records = connection.execute(query).all()
    verdicts, scores, stars = ([record[i] for record in records] for i in range(3))
    return ScoredRows.of(labels, verdicts, scores, stars)


def _mentions(connection: Connection, job: Job) -> list[Mention]:
    names = ("n", "aspect", "quote", "verdict", "positive")
    query = select(*(mentions.c[name] for name in names)).where(mentions.c.job == job.id)
    return [Mention(*record) for record in connection.execute(query)]


def _read(connection: Connection, job: Job, numbers: Sequence[int]) -> dict[int, ReadRow]:
    return {
        n: ReadRow(row.text[:MAX_EXCERPT], row.verdict, row.label, row.score, row.stars)
        for n, row in listed_rows(connection, job, numbers).items()
        if row.verdict is not None and row.label is not None and row.score is not None
    }
