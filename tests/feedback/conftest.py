from collections.abc import Callable, Iterator

import pytest

from reelsense.feedback.repository import FeedbackRepository
from reelsense.jobs.database import Database
from tests.jobs.conftest import Time

Open = Callable[..., FeedbackRepository]


@pytest.fixture
def now() -> Time:
    return Time()


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    opened = Database(url)
    yield opened
    opened.close()


@pytest.fixture
def repository(database: Database, now: Time) -> FeedbackRepository:
    return FeedbackRepository(database, keep_texts=True, now=now)
