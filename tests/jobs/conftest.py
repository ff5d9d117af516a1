from collections.abc import Callable, Iterator

import pytest

from reelsense.jobs.database import Database
from reelsense.jobs.repository import JobRepository

KEEP = 100.0


class Time:
    """A clock that the tests set."""

    def __init__(self) -> None:
        self.now = 1000.25

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def now() -> Time:
    return Time()


@pytest.fixture
def more(url: str, now: Time) -> Iterator[Callable[[], JobRepository]]:
    """Open the same database again, as another process would."""
    opened: list[JobRepository] = []

    def more() -> JobRepository:
        opened.append(JobRepository(Database(url), KEEP, now))
        return opened[-1]

    yield more
    for repository in opened:
        repository.close()


@pytest.fixture
def jobs(more: Callable[[], JobRepository]) -> JobRepository:
    return more()
