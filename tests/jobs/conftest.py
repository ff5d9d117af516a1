import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from reelsense.jobs.database import Database
from reelsense.jobs.models import metadata
from reelsense.jobs.repository import JobRepository

KEEP = 100.0


class Time:
    """A clock that the tests set."""

    def __init__(self) -> None:
        self.now = 1000.25

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def url(tmp_path: Path) -> str:
    """URL of an empty database: an SQLite file, or that in REELSENSE_TEST_DATABASE, emptied."""
    given = os.environ.get("REELSENSE_TEST_DATABASE")
    if not given:
        return f"sqlite:///{tmp_path / 'jobs.db'}"
    engine = create_engine(given)
    with engine.begin() as connection:
        metadata.drop_all(connection)
        connection.execute(text("DROP TABLE IF EXISTS alembic_version"))
    engine.dispose()
    return given


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
