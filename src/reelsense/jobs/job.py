"""What a job is: a file of texts that is scored in the background, and how far it has come."""

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
"""The states of a job. Of a job that is being received or was deleted, others see nothing."""

ERROR = "error"
"""In the place of a verdict: the row could not be scored."""

OPEN = (WAITING, RUNNING)
"""Those of a job that is not at its end."""


@dataclass(frozen=True, slots=True)
class Job:
    """A file of texts, and how far it has come. Times are seconds since 1970."""

    id: str
    """Whoever knows it may read the job."""
    name: str
    suffix: str
    column: str
    risk: float | None
    model: str
    """The name of the model that is to answer."""
    version: str | None
    """And its version, once it has begun."""
    added: tuple[str, ...]
    """The columns that it adds, beside error."""
    state: str
    rows: int
    done: int
    characters: int
    characters_done: int
    worked: float
    """Seconds that were spent on what is done."""
    created: float
    ended: float | None
    expires: float | None
    """When it is deleted; None: it has not ended."""
    error: str | None
    owner: str | None
    verdicts: dict[str, int]
    """How many answers of each, ERROR among them."""
    stars: dict[str, int]
    """How many answers of each, rounded."""

    @property
    def is_open(self) -> bool:
        """Whether it is not at its end."""
        return self.state in OPEN

    @property
    def seconds_left(self) -> float | None:
        """How long the rest should take, by its length; None before anything is done."""
        if not self.characters_done or not self.is_open:
            return None
        left = self.characters - self.characters_done
        return self.worked * left / self.characters_done


@dataclass(frozen=True, slots=True)
class NewJob:
    """What is known of a file before its rows."""

    name: str
    suffix: str
    column: str
    risk: float | None
    model: str


def check_ended(job: Job) -> None:
    """Raise JobStateError if `job` has no result yet."""
    if job.is_open:
        raise JobStateError(f"{job.done:,} of {job.rows:,} rows are scored: ask again later")
