import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select

from reelsense.errors import DeadlineError, NoPredictionError, StoreError
from reelsense.feedback import writer as module
from reelsense.feedback.records import NewFeedback
from reelsense.feedback.repository import FeedbackRepository
from reelsense.feedback.writer import FeedbackWriter
from reelsense.jobs.database import Database
from reelsense.jobs.models import feedback, predictions
from tests.feedback.made import kept
from tests.waiting import wait_until

Start = Callable[..., FeedbackWriter]


class Written:
    """Counts stored and dropped predictions."""

    def __init__(self) -> None:
        self.stored = self.dropped = 0

    def __call__(self, stored: int, dropped: int) -> None:
        self.stored += stored
        self.dropped += dropped


class Gate:
    """Stores feedback once it is released, and records the sizes of the batches."""

    def __init__(self, add: Callable[[Sequence[NewFeedback]], object]) -> None:
        self._add = add
        self.batches: list[int] = []
        self.entered, self.release = threading.Event(), threading.Event()

    def __call__(self, items: Sequence[NewFeedback]) -> object:
        self.batches.append(len(items))
        self.entered.set()
        assert self.release.wait(20)
        return self._add(items)


@pytest.fixture
def written() -> Written:
    return Written()


@pytest.fixture
def start(repository: FeedbackRepository, written: Written) -> Iterator[Start]:
    started: list[FeedbackWriter] = []

    def start(
        open_repository: Callable[[], FeedbackRepository] = lambda: repository,
        keep_days: float | None = None,
    ) -> FeedbackWriter:
        started.append(FeedbackWriter(open_repository, written, keep_days))
        return started[-1]

    yield start
    for writer in started:
        writer.close()


def rows(database: Database) -> tuple[int, int]:
    with database.reading() as connection:
        return tuple(  # type: ignore[return-value]
            connection.scalar(select(func.count()).select_from(table))
            for table in (predictions, feedback)
        )


def test_close_writes_what_is_queued(start: Start, written: Written, database: Database) -> None:
    writer = start()
    for n in range(2500):
        assert writer.keep([kept(f"text {n}")])
    writer.close()
    assert (written.stored, written.dropped) == (2500, 0)
    assert rows(database) == (2500, 0)
    assert not writer.keep([kept()])
    assert written.dropped == 1
    with pytest.raises(StoreError) as caught:
        writer.add(NewFeedback(text="a", label="b"))
    assert caught.value.code == "shutting-down"


def test_feedback_finds_prediction_that_was_just_queued(start: Start) -> None:
    writer = start()
    for _ in range(20):
        prediction = kept()
        writer.keep([prediction])
        entry = writer.add(NewFeedback(prediction_id=prediction.id, label="negative"), 20)
        assert entry.predicted
    with pytest.raises(NoPredictionError):
        writer.add(NewFeedback(prediction_id="x", label="negative"), 20)


@pytest.fixture
def gate(repository: FeedbackRepository, monkeypatch: pytest.MonkeyPatch) -> Gate:
    made = Gate(repository.add)
    monkeypatch.setattr(repository, "add", made)
    return made


def text(n: int) -> NewFeedback:
    return NewFeedback(text=str(n), label="a")


def test_concurrent_feedback_shares_transactions(start: Start, gate: Gate) -> None:
    writer = start()
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(writer.add, text(0), 20)
        assert gate.entered.wait(20)
        others = [pool.submit(writer.add, text(n), 20) for n in range(1, 8)]
        wait_until(lambda: len(writer._feedback) == 7)
        gate.release.set()
        assert {future.result().text for future in (first, *others)} == set(map(str, range(8)))
    assert gate.batches == [1, 7]


def test_transaction_waits_for_callers_of_the_last_one(
    start: Start, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LINGER_SHARE", 1e6)
    writer = start()
    with ThreadPoolExecutor(8) as pool:
        twice = pool.submit(lambda: [writer.add(text(n), 20) for n in range(2)])
        assert gate.entered.wait(20)
        others = [pool.submit(writer.add, text(n), 20) for n in range(2, 5)]
        wait_until(lambda: len(writer._feedback) == 3)
        gate.release.set()
        assert len([twice.result(), *(future.result() for future in others)]) == 4
    assert gate.batches == [1, 4]


def test_slow_database_is_deadline_error(
    start: Start, repository: FeedbackRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    stored: list[str | None] = []

    def slow(items: list[NewFeedback]) -> list[object]:
        stored.extend(item.text for item in items)
        assert release.wait(20)
        return [StoreError("too late")] * len(items)

    monkeypatch.setattr(repository, "add", slow)
    writer = start()
    with pytest.raises(DeadlineError):
        writer.add(NewFeedback(text="1", label="a"), 0.05)
    with pytest.raises(DeadlineError):
        writer.add(NewFeedback(text="2", label="a"), 0.05)
    release.set()
    writer.close()
    assert stored == ["1"]  # the second was cancelled while it waited


def test_failed_database_drops_predictions_and_reports_feedback(
    start: Start,
    repository: FeedbackRepository,
    written: Written,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(module, "_RETRY_AFTER_ERROR", 0.01)
    is_down = threading.Event()
    is_down.set()

    def open_repository() -> FeedbackRepository:
        if is_down.is_set():
            raise StoreError("down", code="database-failed")
        return repository

    writer = start(open_repository)
    for n in range(5):
        assert writer.keep([kept()])
        wait_until(lambda n=n: written.dropped == n + 1)  # type: ignore[misc]
    with pytest.raises(StoreError):
        writer.add(NewFeedback(text="a", label="b"), 20)
    assert caplog.text.count("predictions cannot be stored: down") == 1
    is_down.clear()
    wait_until(lambda: bool(writer.keep([kept()])) and written.stored > 0)
    assert writer.add(NewFeedback(text="a", label="b"), 20).label == "b"
    assert rows(database)[1] == 1


def test_blocked_database_never_blocks_predictions(
    start: Start, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MAX_PREDICTIONS", 10)
    entered, release = threading.Event(), threading.Event()

    def open_repository() -> FeedbackRepository:
        entered.set()
        assert release.wait(20)
        raise StoreError("down")

    writer = start(open_repository)
    writer.keep([kept()])
    assert entered.wait(20)
    assert [writer.keep([kept()] * 4) for _ in range(4)] == [True, True, False, False]
    assert written.dropped == 8
    release.set()


def test_queue_is_limited_by_characters(
    start: Start, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MAX_CHARACTERS", 100)
    writer = start()
    assert not writer.keep([kept("x" * 101)])
    for n in range(1, 20):  # the queue has room again once it is written
        assert writer.keep([kept("x" * 100)])
        wait_until(lambda n=n: written.stored == n)  # type: ignore[misc]


def test_bug_does_not_end_thread(
    start: Start, repository: FeedbackRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_items: object) -> None:
        raise ZeroDivisionError

    writer = start()
    with monkeypatch.context() as patch:
        patch.setattr(repository, "add", broken)
        with pytest.raises(ZeroDivisionError):
            writer.add(NewFeedback(text="a", label="b"), 20)
    assert writer.add(NewFeedback(text="a", label="b"), 20)


def test_retention_deletes_old_rows(
    start: Start, repository: FeedbackRepository, database: Database
) -> None:
    repository.add_predictions([kept(created=0.0), kept()])
    repository.add([NewFeedback(text="old", label="a")])  # the clock of the repository is at 1000
    start(keep_days=1).start()
    wait_until(lambda: rows(database) == (1, 0))
