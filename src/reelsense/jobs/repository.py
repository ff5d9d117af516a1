"""Stores jobs, their rows and their predictions.

Does not know HTTP or models.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, fields, replace
from math import inf
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, func, insert, or_, select, true, update

from reelsense.bulk.rows import Answer, added_columns
from reelsense.bundle import Manifest
from reelsense.errors import LostJobError, NoJobError, StorageLimitError, TooManyJobsError
from reelsense.jobs import offers
from reelsense.jobs.contents import erase, read_results, read_rows, store_rows
from reelsense.jobs.database import Database
from reelsense.jobs.job import (
    CANCELLED,
    DELETED,
    DONE,
    FAILED,
    OPEN,
    RECEIVING,
    RUNNING,
    WAITING,
    Job,
    JobLimits,
    ModelId,
    NewJob,
)
from reelsense.jobs.models import job_answers, job_mentions, jobs
from reelsense.jobs.serialization import answer_record, row_length
from reelsense.prediction import ERROR
from reelsense.summary.aspects import Mention
from reelsense.tables.row import Row, row_text
from reelsense.tables.writing import RowWithAdded

_HIDDEN = (RECEIVING, DELETED)

_UPLOAD_TIMEOUT = 3600.0  # seconds after which an unfinished upload is considered dead

_OFFER_LIFE = 30.0  # seconds after which a server that has not renewed its offer is absent

_MAX_LEASES_AHEAD = 4
"""A lease that ends later than this many lease times from now is invalid: the clock was set back.
Differences between the clocks of several machines must stay below this."""

_JOB_COLUMNS = [jobs.c[field.name] for field in fields(Job) if field.name in jobs.c]


class JobRepository:
    """The jobs in a database. Every method raises StoreError if the database fails.

    One owner at a time works on a job and holds a lease. When the lease expires, another owner
    takes over. Predictions and progress are written in one transaction, so that every row has
    exactly one prediction after a crash.
    """

    def __init__(
        self, database: Database, retention: float, now: Callable[[], float] = time.time
    ) -> None:
        """Use `database`. Jobs that have ended are deleted after `retention` seconds."""
        self.database, self._retention, self._now = database, retention, now

    def close(self) -> None:
        """Close the database."""
        self.database.close()

    def count(self) -> int:
        """Return the number of jobs, including uploads in progress."""
        return self._usage(true())[0]

    def check_capacity(self, limits: JobLimits, key: str | None) -> None:
        """Raise TooManyJobsError or StorageLimitError if no other job of `key` may be stored."""
        count, size = self._usage(true())
        if count >= limits.jobs:
            raise TooManyJobsError(
                f"job limit reached ({limits.jobs}): delete a job or try again later", 60
            )
        if key is not None and self._usage(jobs.c.key == key)[0] >= limits.jobs_per_key:
            raise TooManyJobsError(
                f"job limit of this key reached ({limits.jobs_per_key}): delete a job or try again "
                "later",
                60,
            )
        if size >= limits.bytes:
            raise StorageLimitError(
                f"the jobs of this server need {size:,} bytes, the limit is {limits.bytes:,}: "
                "delete a job or try again later"
            )

    def _usage(self, condition: ColumnElement[bool]) -> tuple[int, int]:
        """Return the number of jobs that satisfy `condition`, and the size of their rows."""
        query = select(func.count(), func.coalesce(func.sum(jobs.c.bytes), 0))
        query = query.select_from(jobs).where(jobs.c.state != DELETED, condition)
        with self.database.reading() as connection:
            count, size = connection.execute(query).one()
        return int(count), int(size)

    def receive(
        self,
        new_job: NewJob,
        rows: Iterable[Row],
        max_rows: int,
        max_bytes: Callable[[int], float] = lambda _: inf,
        max_total_bytes: float = inf,
    ) -> Job:
        """Store a new job, ready to be claimed. If `rows` raises an error, nothing is stored.

        `max_bytes` returns the bytes that a number of rows may need, and `max_total_bytes` is the
        limit for all jobs. Raises DatasetError without rows, or with too many rows, cells or bytes,
        and StorageLimitError.
        """
        free_bytes = max_total_bytes - self._usage(true())[1]
        job_id = secrets.token_urlsafe(16)
        with self.database.writing() as connection:
            values = asdict(new_job) | {"id": job_id, "state": RECEIVING, "created": self._now()}
            connection.execute(insert(jobs).values(values))
        try:
            stored = store_rows(
                self.database, job_id, new_job, rows, max_rows, max_bytes, free_bytes
            )
        except BaseException:
            self._end(job_id, (RECEIVING,), DELETED)
            raise
        size = {"rows": stored.rows, "characters": stored.characters, "bytes": stored.bytes}
        with self.database.writing() as connection:
            change = update(jobs).where(jobs.c.id == job_id, jobs.c.state == RECEIVING)
            connection.execute(change.values(state=WAITING, **size))
        return self.job(job_id)

    def job(self, job_id: str) -> Job:
        """Return a job. Its state is WAITING if no server offers its model. Raises NoJobError."""
        now = self._now()
        is_offered = offers.is_offered(now - _OFFER_LIFE)
        with self.database.reading() as connection:
            job = _job(connection, job_id, expires_after=now)
            query = select(jobs.c.id).where(jobs.c.id == job_id, is_offered)
            if not job.is_open or connection.scalar(query):
                return job
        return replace(job, state=WAITING, waiting_for=job.needed_model)

    def offer(self, owner: str, models: Iterable[ModelId]) -> None:
        """Replace the models that `owner` offers with `models`."""
        with self.database.writing() as connection:
            offers.record(connection, owner, models, self._now())

    def withdraw(self, owner: str) -> None:
        """Mark the offers of `owner` as expired. Its jobs fail only after the usual delay."""
        with self.database.writing() as connection:
            offers.record_absence(connection, owner, self._now() - _OFFER_LIFE)

    def needs(self, model: ModelId, current: str) -> bool:
        """Return whether a job still needs `model`, which that named `current` has replaced.

        These are jobs that have begun with it, and jobs of its name if `current` has another name.
        """
        query = select(func.count()).where(
            jobs.c.state.in_((RECEIVING, *OPEN)),
            offers.scored_by([model]),
            or_(jobs.c.version.is_not(None), jobs.c.model != current),
        )
        with self.database.reading() as connection:
            return bool(connection.scalar(query))

    def claim(self, owner: str, models: Iterable[ModelId], seconds: float) -> Job | None:
        """Lease the job of `models` whose last turn was longest ago, or that never had one.

        Returns None if no job is free.
        """
        return self._claim(owner, seconds, offers.scored_by(models))

    def claim_orphan(
        self, owner: str, models: Collection[ModelId], missing: float, seconds: float
    ) -> Job | None:
        """Lease a job whose model is not in `models` and was not offered for `missing` seconds.

        If `models` has no version of that model, jobs are skipped while another server offers one:
        that server can restart them. Returns None if no job is free.
        """
        has_other_name = jobs.c.model.not_in({model.name for model in models})
        is_offered = offers.is_offered(self._now() - missing, other_versions=has_other_name)
        return self._claim(owner, seconds, ~offers.scored_by(models) & ~is_offered)

    def _claim(self, owner: str, seconds: float, condition: ColumnElement[bool]) -> Job | None:
        now = self._now()
        latest = now + _MAX_LEASES_AHEAD * seconds
        is_free = (
            jobs.c.state.in_(OPEN),
            condition,
            or_(jobs.c.lease <= now, jobs.c.owner == owner, jobs.c.lease > latest),
        )
        oldest = select(jobs.c.id).where(*is_free).order_by(jobs.c.lease, jobs.c.created).limit(1)
        while True:
            with self.database.reading() as connection:
                job_id = connection.scalar(oldest)
            if job_id is None:
                return None
            with self.database.writing() as connection:
                change = update(jobs).where(jobs.c.id == job_id, *is_free)
                claimed = connection.execute(
                    change.values(state=RUNNING, owner=owner, lease=now + seconds)
                )
                if claimed.rowcount:
                    return _job(connection, job_id)

    def begin(self, job: Job, manifest: Manifest) -> Job:
        """Record the model that scores a job. Predictions of another version are discarded.

        Raises LostJobError.
        """
        if (job.version, job.labels) == (manifest.version, manifest.labels):
            return job
        changes: dict[str, Any] = {
            "version": manifest.version,
            "labels": manifest.labels,
            "ratings": manifest.ratings,
            "added": added_columns(manifest),
        }
        with self.database.writing() as connection:
            _check_owner(connection, job)
            if job.version != manifest.version:
                for table in (job_answers, job_mentions):
                    connection.execute(delete(table).where(table.c.job == job.id))
                changes |= {"done": 0, "characters_done": 0, "worked": 0.0}
                changes |= {"verdicts": {}, "stars": {}}
            return _update(connection, job, **changes)

    def next_rows(self, job: Job, count: int) -> list[Row]:
        """Return the next rows to score, at most `count`."""
        return read_rows(self.database, job, job.done, count)

    def text(self, job: Job, n: int) -> str:
        """Return the text of row `n`, counted from 0. Raises NoJobError if it has no text."""
        rows = read_rows(self.database, job, n, 1) if n < job.rows else []
        text = row_text(rows[0], job.column) if rows else ""
        if not text:
            raise NoJobError(f"row {n} does not exist or contains no text", code="no-such-row")
        return text

    def record(
        self,
        job: Job,
        rows: Sequence[Row],
        answers: Sequence[Answer],
        seconds: float,
        mentions: Iterable[Mention] = (),
    ) -> Job:
        """Store the predictions for the next rows, which took `seconds`. The last row ends the job.

        `mentions` are the aspects that these rows judge.

        Raises LostJobError if another owner has the job or it has ended.
        """
        records = [answer_record(job, n, answer) for n, answer in enumerate(answers, job.done)]
        length = sum(row_length(row, job.column) for row in rows)
        verdicts = Counter(record["verdict"] or ERROR for record in records)
        stars = Counter(
            str(int(record["stars"] + 0.5)) for record in records if record["stars"] is not None
        )
        changes: dict[str, object] = {
            "done": job.done + len(rows),
            "characters_done": job.characters_done + length,
            "worked": job.worked + seconds,
            "verdicts": Counter(job.verdicts) + verdicts,
            "stars": Counter(job.stars) + stars,
        }
        if job.done + len(rows) >= job.rows:
            changes |= self._ended(DONE)
        self.database.check_space()
        with self.database.writing() as connection:
            _check_owner(connection, job)
            connection.execute(insert(job_answers), records)
            if mention_records := _mention_records(job, mentions):
                connection.execute(insert(job_mentions), mention_records)
            return _update(connection, job, **changes)

    def renew(self, job: Job, seconds: float) -> None:
        """Renew the lease of `job`. Raises LostJobError if another owner has it."""
        if not self._change_owned(job, lease=self._now() + seconds):
            raise _lease_lost()

    def release(self, job: Job) -> None:
        """Release `job`, so that it can be claimed immediately."""
        self._change_owned(job, owner=None, lease=self._now())

    def fail(self, job: Job, reason: str, code: str) -> None:
        """End `job` as failed, unless another owner has it."""
        self._change_owned(job, error=reason, error_code=code, **self._ended(FAILED))

    def _change_owned(self, job: Job, **values: object) -> bool:
        with self.database.writing() as connection:
            change = update(jobs).where(jobs.c.id == job.id, jobs.c.owner == job.owner)
            return connection.execute(change.values(values)).rowcount > 0

    def cancel(self, job_id: str) -> bool:
        """Cancel a job and keep its predictions. Raises NoJobError.

        Returns False if the job had ended before.
        """
        is_cancelled = self._end(job_id, OPEN, CANCELLED)
        self.job(job_id)
        return is_cancelled

    def delete(self, job_id: str) -> None:
        """Hide a job until `sweep` erases it. Raises NoJobError."""
        self.job(job_id)
        self._end(job_id, (*OPEN, DONE, CANCELLED, FAILED), DELETED)

    def sweep(self) -> int:
        """Erase jobs that were deleted, have expired or were not received completely.

        Returns their number.
        """
        now = self._now()
        is_garbage = or_(
            jobs.c.state == DELETED,
            jobs.c.expires < now,
            (jobs.c.state == RECEIVING) & (jobs.c.created < now - _UPLOAD_TIMEOUT),
        )
        with self.database.reading() as connection:
            job_ids = connection.scalars(select(jobs.c.id).where(is_garbage)).all()
        for job_id in job_ids:
            self._end(job_id, (RECEIVING, *OPEN, DONE, CANCELLED, FAILED), DELETED)
            erase(self.database, job_id)
            with self.database.writing() as connection:
                connection.execute(delete(jobs).where(jobs.c.id == job_id))
        if job_ids:
            self.database.shrink()
        return len(job_ids)

    def results(self, job: Job) -> Iterator[list[RowWithAdded]]:
        """Yield the rows that are done, in order and in chunks. Raises NoJobError."""
        return read_results(self.database, job)

    def _end(self, job_id: str, states: Sequence[str], state: str) -> bool:
        with self.database.writing() as connection:
            change = update(jobs).where(jobs.c.id == job_id, jobs.c.state.in_(states))
            return connection.execute(change.values(self._ended(state))).rowcount > 0

    def _ended(self, state: str) -> dict[str, Any]:
        now = self._now()
        ended = {"state": state, "ended": now, "expires": now + self._retention}
        return ended | {"owner": None, "lease": 0.0}


def _job(
    connection: Connection, job_id: str, *, lock: bool = False, expires_after: float = 0.0
) -> Job:
    """Return a job. Raises NoJobError if it does not exist, is hidden or has expired.

    With `lock`, other transactions cannot change it. (SQLite always locks while writing.)
    """
    query = select(*_JOB_COLUMNS).where(
        jobs.c.id == job_id,
        jobs.c.state.not_in(_HIDDEN),
        or_(jobs.c.expires.is_(None), jobs.c.expires >= expires_after),
    )
    record = connection.execute(query.with_for_update() if lock else query).mappings().first()
    if record is None:
        raise NoJobError("no such job: the id is wrong, or the job was deleted")
    lists = {name: tuple(record[name] or ()) for name in ("labels", "ratings", "added")}
    header = None if record["header"] is None else tuple(record["header"])
    return Job(**{**record, **lists, "header": header})


def _check_owner(connection: Connection, job: Job) -> None:
    try:
        current = _job(connection, job.id, lock=True)
    except NoJobError as error:
        raise LostJobError("the job was deleted", code="job-deleted") from error
    if current.owner != job.owner or current.state != RUNNING or current.done != job.done:
        raise _lease_lost()


def _mention_records(job: Job, mentions: Iterable[Mention]) -> list[dict[str, Any]]:
    return [
        {"job": job.id, "position": position, **asdict(mention)}
        for position, mention in enumerate(mentions)
    ]


def _lease_lost() -> LostJobError:
    return LostJobError("lease lost: the job has ended or has another owner", code="lease-lost")


def _update(connection: Connection, job: Job, **values: object) -> Job:
    connection.execute(update(jobs).where(jobs.c.id == job.id).values(values))
    return _job(connection, job.id)
