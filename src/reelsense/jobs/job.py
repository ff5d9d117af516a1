"""The fields and states of a job: a file of texts that is scored in the background.

The fields are declared here, and their SQL types in `models.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from reelsense.errors import JobStateError
from reelsense.tables.row import Columns

RECEIVING = "receiving"  # hidden from users, like DELETED
WAITING = "waiting"
RUNNING = "running"
DONE = "done"
CANCELLED = "cancelled"
FAILED = "failed"
DELETED = "deleted"

OPEN = (WAITING, RUNNING)  # the states of jobs that have not ended


@dataclass(frozen=True, slots=True)
class ModelId:
    """A version of a model."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


@dataclass(frozen=True, slots=True)
class JobLimits:
    """Limits for all jobs in the database."""

    jobs: int
    jobs_per_key: int
    bytes: int  # of their rows


@dataclass(frozen=True, slots=True)
class NewJob:
    """The fields of a job that are known before its rows are read."""

    name: str  # of the file
    suffix: str  # of the file; determines the format
    column: str  # contains the texts
    header: tuple[str, ...] | None  # columns as in the file; None: each row has its own (JSON)
    risk: float | None  # target error rate; None: the default of the model
    model: str  # name of the model that scores the job
    key: str | None  # name of the API key that created the job

    @property
    def names(self) -> tuple[str, ...]:
        """Unique names of the columns; none if each row has its own."""
        return Columns(self.header or ()).names


@dataclass(frozen=True, slots=True)
class Job(NewJob):
    """A job and its progress. Times are seconds since 1970."""

    id: str  # secret: anyone who knows it can read the job
    version: str | None  # of the model; None: not started yet
    labels: tuple[str, ...]  # of the model, in its order; empty: not started yet
    ratings: tuple[int, ...]  # of the model; empty: not started yet, or no stars
    added: tuple[str, ...]  # the columns that are added to the file, without `error`
    state: str
    rows: int
    done: int  # rows processed, including rows that could not be scored
    characters: int
    characters_done: int
    worked: float  # seconds spent on the rows that are done
    created: float
    ended: float | None
    expires: float | None  # when the job is deleted; None: not ended yet
    error: str | None  # why the job failed
    error_code: str | None  # stable identifier of the error
    owner: str | None  # the process that works on the job
    verdicts: dict[str, int]  # number of rows per verdict, including ERROR
    stars: dict[str, int]  # number of rows per star rating, rounded
    waiting_for: str | None = None  # the model that it waits for; None if a server offers it

    @property
    def is_open(self) -> bool:
        """Whether the job has not ended."""
        return self.state in OPEN

    @property
    def needed_model(self) -> str:
        """The model that can score the job: its name and, once the job has begun, its version."""
        return f"{self.model} {self.version}" if self.version else self.model

    @property
    def seconds_left(self) -> float | None:
        """Estimated remaining time. None: no rows are done, no model is available, or it ended."""
        if not self.characters_done or not self.is_open or self.waiting_for:
            return None
        remaining = self.characters - self.characters_done
        return self.worked * remaining / self.characters_done


def check_ended(job: Job) -> None:
    """Raise JobStateError if `job` has no result yet."""
    if job.is_open:
        raise JobStateError(
            f"the job has not ended: {job.done:,} of {job.rows:,} rows are done; try again later",
            code="job-not-ended",
        )
