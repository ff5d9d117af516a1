"""Jobs: files of texts that are scored in the background, and their answers so far.

A job is worked on by one owner at a time, who has a lease; if it runs out, another takes over. What
is answered is kept with the mark of how far it goes in one transaction, so that after a crash every
row has one answer. Knows rows, answers and times; knows neither HTTP nor models.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from sqlalchemy import Connection, delete, func, insert, or_, select, update

from reelsense.bulk.rows import Answer
from reelsense.errors import DatasetError, LostJobError, NoJobError
from reelsense.jobs.database import Database
from reelsense.jobs.job import (
    CANCELLED,
    DELETED,
    DONE,
    ERROR,
    FAILED,
    OPEN,
    RECEIVING,
    RUNNING,
    WAITING,
    Job,
    NewJob,
)
from reelsense.jobs.models import job_answers, job_rows, jobs
from reelsense.jobs.serialization import as_row, counted, kept_answer, kept_row, length, rounded
from reelsense.tables.delimited import Row

_UNSEEN = (RECEIVING, DELETED)

_CHUNK = 1000
"""Rows that are written or read at a time: others get their turn in between."""

_FIRST = 16
"""Rows of a result that are read first."""

_AT_ONCE = 1_000_000
"""Characters of a result, some, that are read at a time."""

_CELLS = 20_000_000
"""Of a table, at most: a short file can have a great many, since short rows are filled up."""

_ABANDONED = 3600.0
"""Seconds after which a job that is still being received never will be."""


_LATEST = 4
"""Times as long as a lease: by less than that the clocks of several machines may differ."""


_FIELDS = [jobs.c[name] for name in Job.__slots__]


class Jobs:
    """The jobs in a database. Every method raises StoreError if that fails."""

    def __init__(
        self, database: Database, keep: float, now: Callable[[], float] = time.time
    ) -> None:
        """Keep jobs for `keep` seconds after they have ended."""
        self.database, self._keep, self._now = database, keep, now

    def close(self) -> None:
        """Close the database."""
        self.database.close()

    def count(self) -> int:
        """Return how many jobs are kept."""
        with self.database.reading() as connection:
            query = select(func.count()).where(jobs.c.state != DELETED).select_from(jobs)
            return int(connection.scalar(query) or 0)

    def receive(self, new: NewJob, rows: Iterable[Row], most: int) -> Job:
        """Keep a new job with its `rows`, at most so many, to be worked on.

        Raises DatasetError if there are none or more, and what `rows` raise; then nothing is kept.
        """
        name = secrets.token_urlsafe(16)
        blank = dict.fromkeys(("rows", "done", "characters", "characters_done", "worked"), 0)
        with self.database.writing() as connection:
            values = {field: getattr(new, field) for field in NewJob.__slots__} | blank
            values |= {"id": name, "state": RECEIVING, "created": self._now(), "lease": 0.0}
            values |= {"verdicts": {}, "stars": {}}
            connection.execute(insert(jobs).values(values))
        try:
            count, characters = self._receive_rows(name, new, iter(rows), most)
        except BaseException:
            self._end(name, (RECEIVING,), DELETED)
            raise
        with self.database.writing() as connection:
            mine = update(jobs).where(jobs.c.id == name, jobs.c.state == RECEIVING)
            connection.execute(mine.values(state=WAITING, rows=count, characters=characters))
        return self.job(name)

    def _receive_rows(
        self, name: str, new: NewJob, rows: Iterator[Row], most: int
    ) -> tuple[int, int]:
        count = characters = cells = 0
        while chunk := list(islice(rows, _CHUNK)):
            kept = [kept_row(name, count + n, row, new.column) for n, row in enumerate(chunk)]
            count += len(chunk)
            if count > most:
                raise DatasetError(f"{new.name}: there are more than {most:,} rows in it")
            cells += sum(len(row.values) for row in chunk)
            if cells > _CELLS:
                raise DatasetError(f"{new.name}: there are more than {_CELLS:,} cells in it")
            characters += sum(length(row, new.column) for row in chunk)
            with self.database.writing() as connection:
                connection.execute(insert(job_rows), kept)
        if not count:
            raise DatasetError(f"{new.name}: there are no rows in it")
        return count, characters

    def job(self, name: str) -> Job:
        """Return the job `name`. Raises NoJobError."""
        with self.database.reading() as connection:
            return _job(connection, name, now=self._now())

    def claim(self, owner: str, model: str, seconds: float) -> Job | None:
        """Lend a job for `model` that nobody works on to `owner`; None: there is none.

        The oldest that has had no turn, else the one whose turn was longest ago.
        """
        now = self._now()
        free = (
            jobs.c.state.in_(OPEN),
            jobs.c.model == model,
            # One that ends that late was given before the clock was set back.
            or_(jobs.c.lease <= now, jobs.c.owner == owner, jobs.c.lease > now + _LATEST * seconds),
        )
        while True:
            with self.database.reading() as connection:
                query = (
                    select(jobs.c.id).where(*free).order_by(jobs.c.lease, jobs.c.created).limit(1)
                )
                name = connection.scalar(query)
            if name is None:
                return None
            with self.database.writing() as connection:
                change = update(jobs).where(jobs.c.id == name, *free)
                taken = connection.execute(
                    change.values(state=RUNNING, owner=owner, lease=now + seconds)
                )
                if taken.rowcount:
                    return _job(connection, name)

    def begin(self, job: Job, version: str, added: Sequence[str]) -> Job:
        """Note what answers: the model's `version` and the columns it adds.

        Answers of another version are dropped: a result is of one model.
        """
        if job.version == version:
            return job
        with self.database.writing() as connection:
            self._check_owner(connection, job)
            connection.execute(delete(job_answers).where(job_answers.c.job == job.id))
            nothing = {"done": 0, "characters_done": 0, "worked": 0.0, "verdicts": {}, "stars": {}}
            self._update(connection, job.id, version=version, added=list(added), **nothing)
            return _job(connection, job.id)

    def next_rows(self, job: Job, count: int) -> list[Row]:
        """Return the next rows to be answered, `count` at most."""
        return self._rows(job, job.done, count)

    def text(self, job: Job, n: int) -> str:
        """Return the text of row number `n`, from 0. Raises NoJobError if there is none."""
        rows = self._rows(job, n, 1) if n < job.rows else []
        text = rows[0].values.get(job.column) if rows else None
        if not isinstance(text, str):
            raise NoJobError("there is no such text")
        return text

    def record(self, job: Job, rows: Sequence[Row], answers: Sequence[Answer], took: float) -> Job:
        """Keep the `answers` to the next `rows`, and that they took so many seconds.

        The job ends with its last row. Raises LostJobError if it is no longer its owner's.
        """
        kept = [kept_answer(job, job.done + n, answer) for n, answer in enumerate(answers)]
        done = job.done + len(rows)
        changes: dict[str, object] = {
            "done": done,
            "characters_done": job.characters_done + sum(length(row, job.column) for row in rows),
            "worked": job.worked + took,
            "verdicts": counted(job.verdicts, [each["verdict"] or ERROR for each in kept]),
            "stars": counted(job.stars, [rounded(each["stars"]) for each in kept]),
        }
        if done >= job.rows:
            changes |= self._ended(DONE)
        with self.database.writing() as connection:
            self._check_owner(connection, job)
            connection.execute(insert(job_answers), kept)
            self._update(connection, job.id, **changes)
            return _job(connection, job.id)

    def renew(self, job: Job, seconds: float) -> None:
        """Lend `job` on. Raises LostJobError if it is no longer its owner's."""
        with self.database.writing() as connection:
            mine = update(jobs).where(jobs.c.id == job.id, jobs.c.owner == job.owner)
            lent = connection.execute(mine.values(lease=self._now() + seconds))
            if not lent.rowcount:
                raise LostJobError("it is no longer this one's")

    def release(self, job: Job) -> None:
        """Give `job` back, so that the next owner goes on at once."""
        with self.database.writing() as connection:
            change = update(jobs).where(jobs.c.id == job.id, jobs.c.owner == job.owner)
            connection.execute(change.values(owner=None, lease=self._now()))

    def fail(self, job: Job, reason: str) -> None:
        """End `job`, because of `reason`, if it is still its owner's."""
        with self.database.writing() as connection:
            mine = update(jobs).where(jobs.c.id == job.id, jobs.c.owner == job.owner)
            connection.execute(mine.values(self._ended(FAILED) | {"error": reason}))

    def cancel(self, name: str) -> bool:
        """End the job `name`, if it has not ended, and say so; what is answered stays.

        Raises NoJobError.
        """
        ended = self._end(name, OPEN, CANCELLED)
        self.job(name)
        return ended

    def delete(self, name: str) -> None:
        """Let nobody see the job `name` any more; `sweep` deletes it. Raises NoJobError."""
        self.job(name)
        self._end(name, (*OPEN, DONE, CANCELLED, FAILED), DELETED)

    def sweep(self) -> int:
        """Delete what was deleted, has expired or was never received whole; return how many."""
        now = self._now()
        gone = or_(
            jobs.c.state == DELETED,
            jobs.c.expires < now,
            (jobs.c.state == RECEIVING) & (jobs.c.created < now - _ABANDONED),
        )
        with self.database.reading() as connection:
            names = connection.scalars(select(jobs.c.id).where(gone)).all()
        for name in names:
            self._end(name, (RECEIVING, *OPEN, DONE, CANCELLED, FAILED), DELETED)
            self._sweep_job(name)
        if names:
            self.database.shrink()
        return len(names)

    def _sweep_job(self, name: str) -> None:
        for table in (job_answers, job_rows):
            left = True
            while left:
                with self.database.writing() as connection:
                    some = select(table.c.n).where(table.c.job == name).limit(5 * _CHUNK)
                    gone = delete(table).where(
                        table.c.job == name, table.c.n.in_(some.scalar_subquery())
                    )
                    left = connection.execute(gone).rowcount > 0
        with self.database.writing() as connection:
            connection.execute(delete(jobs).where(jobs.c.id == name))

    def results(self, job: Job) -> Iterator[tuple[Row, dict[str, object]]]:
        """Yield every row that is answered and what is added to it, in order.

        Raises NoJobError if they are deleted meanwhile: half a result is none.
        """
        start, count = 0, _FIRST
        while start < job.done:
            count = min(count, job.done - start)
            rows = self._rows(job, start, count)
            with self.database.reading() as connection:
                query = _in_order(select(job_answers), job, start, len(rows))
                answers = connection.execute(query).mappings().all()
            if not len(rows) == len(answers) == count:
                raise NoJobError("the job was deleted while its result was read")
            for row, answer in zip(rows, answers, strict=True):
                yield row, {name: answer[name] for name in (*job.added, "error")}
            start += count
            # A row may have ten characters or a million: more at a time where they are short.
            size = sum(len(str(value)) for row in rows for value in row.values.values())
            count = max(1, min(2 * count, count * _AT_ONCE // (size + 1), _CHUNK))

    def _rows(self, job: Job, start: int, count: int) -> list[Row]:
        with self.database.reading() as connection:
            query = _in_order(select(job_rows), job, start, count)
            return [as_row(kept, job.column) for kept in connection.execute(query).mappings()]

    def _end(self, name: str, states: Sequence[str], state: str) -> bool:
        with self.database.writing() as connection:
            change = update(jobs).where(jobs.c.id == name, jobs.c.state.in_(states))
            return bool(connection.execute(change.values(self._ended(state))).rowcount)

    def _ended(self, state: str) -> dict[str, object]:
        now = self._now()
        ended = {"state": state, "ended": now, "expires": now + self._keep}
        return ended | {"owner": None, "lease": 0.0}

    def _check_owner(self, connection: Connection, job: Job) -> None:
        now = _job(connection, job.id, lost=True)
        if now.owner != job.owner or now.state != RUNNING or now.done != job.done:
            raise LostJobError("it is no longer this one's")

    def _update(self, connection: Connection, name: str, **values: object) -> None:
        connection.execute(update(jobs).where(jobs.c.id == name).values(values))


def _in_order(query: Any, job: Job, start: int, count: int) -> Any:
    n = query.selected_columns.n
    mine = query.selected_columns.job == job.id
    return query.where(mine, n >= start, n < start + count).order_by(n)


def _job(connection: Connection, name: str, *, lost: bool = False, now: float = 0.0) -> Job:
    query = select(*_FIELDS).where(
        jobs.c.id == name,
        jobs.c.state.not_in(_UNSEEN),
        or_(jobs.c.expires.is_(None), jobs.c.expires >= now),
    )
    if lost:  # who is about to write keeps others from it; SQLite does so by itself
        query = query.with_for_update()
    found = connection.execute(query).mappings().first()
    if found is None:
        if lost:
            raise LostJobError("it was deleted")
        raise NoJobError("there is no such job, or it is deleted by now")
    return Job(**{**found, "added": tuple(found["added"] or ())})
