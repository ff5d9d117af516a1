import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from reelsense.errors import StoreError
from reelsense.feedback import queries
from reelsense.feedback.queries import Deleted, FeedbackQuery
from reelsense.feedback.records import Feedback, NewFeedback
from reelsense.feedback.repository import FeedbackRepository
from reelsense.jobs import engine
from reelsense.jobs.database import Database
from reelsense.report.results import Share
from tests import databases
from tests.feedback.made import kept
from tests.jobs.conftest import Time


@pytest.fixture
def stored(repository: FeedbackRepository, now: Time) -> dict[str, str]:
    """Store feedback a second apart; returns ids by name."""
    prediction = kept("A joy.", created=1000.0)
    other = kept("A bore.", created=5000.0)
    repository.add_predictions([prediction, other])
    items = {
        "wrong": NewFeedback(prediction.id, None, "negative"),
        "right": NewFeedback(prediction.id, None, "positive", source="page"),
        "stars": NewFeedback(None, "So so.", stars=5.0, source="page"),
        "again": NewFeedback(None, "a  JOY.", "negative", source="till"),
    }
    ids = {"prediction": prediction.id, "other": other.id}
    for name, item in items.items():
        now.now += 1
        (outcome,) = repository.add([item])
        assert isinstance(outcome, Feedback)
        ids[name] = outcome.id
    return ids


def left(database: Database) -> set[str]:
    return {entry.id for entry in queries.each(database, FeedbackQuery())}


def test_stats_count_feedback_and_predictions(database: Database, stored: dict[str, str]) -> None:
    assert asdict(queries.stats(database)) == {
        "total": 4,
        "with_text": 4,
        "predictions": 2,
        "compared": 2,
        "correct": 1,
        "labels": {"negative": 2, "positive": 1},
        "sources": {"api": 1, "page": 2, "till": 1},
        "measured": [],
    }


def test_measured_accuracy_counts_labels_of_random_predictions_of_a_version(
    database: Database, repository: FeedbackRepository, stored: dict[str, str]
) -> None:
    newer = [kept("A bore.", label, version="2") for label in ("negative", "positive", "positive")]
    repository.add_predictions(newer)
    sources = ("queue-random", "job-queue-random", "queue-suspect")
    for prediction, source in zip(newer, sources, strict=True):
        repository.add([NewFeedback(prediction.id, None, "negative", source=source)])
    repository.add([NewFeedback(newer[0].id, None, stars=1.0, source="queue-random")])  # no label
    # Not the rows of jobs: those texts are not the live ones.
    assert queries.measured_accuracy(database, "2") == Share.of(1, 1)
    assert [measured.source for measured in queries.stats(database).measured] == [
        "job-queue-random",
        "queue-random",
    ]
    assert queries.measured_accuracy(database, "1") is None


def test_stats_of_empty_database(database: Database) -> None:
    counts = queries.stats(database)
    assert (counts.total, counts.predictions, counts.labels) == (0, 0, {})


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({}, ["wrong", "right", "stars", "again"]),
        ({"label": "negative"}, ["wrong", "again"]),
        ({"source": "page"}, ["right", "stars"]),
        ({"version": "1"}, ["wrong", "right"]),
        ({"version": "2"}, []),
        ({"differs": True}, ["wrong"]),
        ({"for_training": True}, ["wrong", "right", "again"]),
        ({"since": 1002.25, "before": 1004.25}, ["right", "stars"]),
        ({"source": "page", "label": "positive"}, ["right"]),
    ],
)
def test_each_yields_matching_feedback_in_order(
    database: Database,
    stored: dict[str, str],
    query: dict[str, Any],
    names: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(queries, "_CHUNK_ROWS", 1)
    found = [entry.id for entry in queries.each(database, FeedbackQuery(**query))]
    assert found == [stored[name] for name in names]
    assert queries.page(database, FeedbackQuery(**query)).total == len(names)


def test_each_yields_feedback_of_same_time(
    database: Database, repository: FeedbackRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "_CHUNK_ROWS", 2)
    repository.add([NewFeedback(text=str(n), label="a") for n in range(7)])
    assert len(left(database)) == 7
    assert len(list(queries.each(database, FeedbackQuery()))) == 7


@pytest.mark.parametrize("name", ["prediction", "wrong", "right"])
def test_forget_id_deletes_prediction_and_feedback_on_it(
    database: Database, stored: dict[str, str], name: str
) -> None:
    assert queries.forget_id(database, stored[name]) == Deleted(1, 2)
    assert left(database) == {stored["stars"], stored["again"]}
    assert queries.forget_id(database, stored[name]) == Deleted(0, 0)


def test_forget_text_deletes_everything_about_it(
    database: Database, stored: dict[str, str]
) -> None:
    assert queries.forget_text(database, " a joy.\n") == Deleted(1, 3)
    assert left(database) == {stored["stars"]}


def test_forget_before_deletes_older_rows(
    database: Database, stored: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "_CHUNK_ROWS", 1)
    assert queries.forget_before(database, 1003.25) == Deleted(1, 2)
    assert left(database) == {stored["stars"], stored["again"]}
    assert queries.expire(database, 10_000.0) == 3
    assert left(database) == set()


MARKS = ["QzMarker-short", "QzMarker-long " * 5000]


def traces(path: Path) -> set[str]:
    """Return the files of an SQLite database that contain a marker."""
    return {file.name for file in path.parent.iterdir() if b"QzMarker" in file.read_bytes()}


@pytest.fixture
def marked(repository: FeedbackRepository, url: str) -> Iterator[Path]:
    """Store markers in many rows, between others, while other connections are open."""
    for n in range(40):
        texts = [f"{n} {mark}" for mark in MARKS]
        repository.add_predictions([kept(f"{text}") for text in [*texts, "other " * 50 * n]])
        repository.add(
            [NewFeedback(text=text, label="a", comment=f"QzMarker {n}") for text in texts]
        )
        repository.add([NewFeedback(text=f"kept {n}", label="a")])
    path = Path(url.removeprefix("sqlite:///"))
    with closing(sqlite3.connect(path)) as other:
        other.execute("SELECT count(*) FROM feedback").fetchall()
        yield path


@pytest.mark.parametrize("url", [databases.SQLITE], indirect=True)
def test_purge_erases_bytes_from_all_files(marked: Path, database: Database) -> None:
    assert traces(marked) == {"jobs.db-wal"} or traces(marked) == {"jobs.db", "jobs.db-wal"}
    for n in range(40):
        for mark in MARKS:
            assert queries.forget_text(database, f"{n} {mark}") == Deleted(1, 1)
    assert "jobs.db-wal" in traces(marked)
    queries.purge(database)
    assert traces(marked) == set()
    assert queries.stats(database).total == 40
    assert queries.stats(database).predictions == 40


@pytest.mark.parametrize("url", [databases.SQLITE], indirect=True)
def test_purge_erases_free_pages(marked: Path, database: Database) -> None:
    with closing(sqlite3.connect(marked, isolation_level=None)) as other:
        other.execute("PRAGMA secure_delete = off")
        for table in ("predictions", "feedback"):
            other.execute(f"DELETE FROM {table} WHERE text LIKE '%QzMarker%'")  # noqa: S608
        other.execute("PRAGMA wal_checkpoint(truncate)")
    assert "jobs.db" in traces(marked)
    queries.purge(database)
    assert traces(marked) == set()


@pytest.mark.parametrize("url", [databases.SQLITE], indirect=True)
def test_purge_reports_reader_that_keeps_log(
    marked: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_LOCK_TIMEOUT", 0)
    with closing(Database(url)) as database:
        with closing(sqlite3.connect(marked, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM feedback").fetchall()
            queries.forget_before(database, 1e12)
            with pytest.raises(StoreError) as caught:
                queries.purge(database)
            assert caught.value.code == "database-busy"
        queries.purge(database)
    assert traces(marked) == set()


def test_purge_keeps_other_rows(database: Database, stored: dict[str, str]) -> None:
    queries.forget_id(database, stored["wrong"])
    queries.purge(database)
    assert left(database) == {stored["stars"], stored["again"]}
