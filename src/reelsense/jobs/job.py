"""The fields and states of a job, a file of texts that is scored in the background.

The fields are declared here, their SQL types in `models.py`; everything else refers to these two.
"""

from __future__ import annotations

from dataclasses import dataclass

from reelsense.errors import JobStateError

RECEIVING, WAITING, RUNNING, DONE, CANCELLED, FAILED, DELETED = (
    "receiving",
    "waiting",
    "running",
    "done",
    "cancelled",
    "failed",
    "deleted",
)
"""The states of a job. Users do not see jobs that are being received or were deleted."""

ERROR = "error"
"""Takes the place of a verdict for rows that could not be scored."""

OPEN = (WAITING, RUNNING)
"""The states of jobs that have not ended."""


@dataclass(frozen=True, slots=True)
class NewJob:
    """The fields of a job that are known before its rows are read."""

    name: str
    """File name."""
    suffix: str
    """Suffix of the file, which determines its format."""
    column: str
    """The column that contains the texts."""
    risk: float | None
    """Target error rate. None: the default of the model."""
    model: str
    """Name of the model that scores the job."""


@dataclass(frozen=True, slots=True)
class Job(NewJob):
    """A job and its progress. Times are seconds since 1970."""

    id: str
    """Secret: anyone who knows it can read the job."""
    version: str | None
    """Version of the model. None: not started yet."""
    added: tuple[str, ...]
    """The columns that are added to the file, without `error`."""
    state: str
    rows: int
    done: int
    """Rows processed, including rows that could not be scored."""
    characters: int
    characters_done: int
    worked: float
    """Seconds spent on the rows that are done."""
    created: float
    ended: float | None
    expires: float | None
    """When the job is deleted. None: not ended yet."""
    error: str | None
    """Why the job failed."""
    owner: str | None
    """The process that works on the job."""
    verdicts: dict[str, int]
    """Number of rows per verdict, including ERROR."""
    stars: dict[str, int]
    """Number of rows per star rating, rounded."""

    @property
    def is_open(self) -> bool:
        """Whether the job has not ended."""
        return self.state in OPEN

    @property
    def seconds_left(self) -> float | None:
        """Estimated remaining time. None: nothing is done yet, or the job has ended."""
        if not self.characters_done or not self.is_open:
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
