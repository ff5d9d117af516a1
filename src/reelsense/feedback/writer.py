"""A thread that writes predictions and feedback to the database, in batches.

Predictions are queued and may be dropped, so that the database never delays or fails them. Feedback
is acknowledged once it is durable: concurrent calls share a transaction.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TypeVar

from reelsense.errors import DeadlineError, StoreError
from reelsense.feedback.queries import expire
from reelsense.feedback.records import Feedback, KeptPrediction, NewFeedback
from reelsense.feedback.repository import FeedbackRepository

_log = logging.getLogger(__name__)

# Limits of the queue; a prediction beyond them is dropped.
_MAX_PREDICTIONS = 10_000
_MAX_CHARACTERS = 16_000_000

_BATCH = 1000  # predictions or feedback per transaction, so that others do not wait long
_LINGER_SHARE = 0.25  # of the duration of the last transaction
_RETRY_AFTER_ERROR = 1.0  # seconds in which predictions are dropped
_EXPIRE_EVERY = 3600.0  # seconds

_T = TypeVar("_T")

Waiting = tuple[NewFeedback, "Future[Feedback]"]


class FeedbackWriter:
    """The queue of predictions and feedback, and the thread that writes them.

    Args:
        open_repository: Returns the repository; may raise StoreError, and is then called again.
        on_written: Called with the number of predictions that were stored, and dropped.
        keep_days: Days after which predictions and feedback are deleted; None: never.
    """

    def __init__(
        self,
        open_repository: Callable[[], FeedbackRepository],
        on_written: Callable[[int, int], None] = lambda *_: None,
        keep_days: float | None = None,
    ) -> None:
        self._open, self._on_written, self._keep_days = open_repository, on_written, keep_days
        self._changed = threading.Condition()  # guards the queues
        self._predictions: deque[KeptPrediction] = deque()
        self._characters = 0  # of their texts
        self._feedback: deque[Waiting] = deque()
        self._closing = False
        self._thread: threading.Thread | None = None
        self._retry_at = self._expire_at = 0.0
        self._expected, self._linger = 0, 0.0  # of the next batch of feedback
        self._last_error = ""

    def start(self) -> None:
        """Start the thread, if it is not running. The other methods do so when they need it."""
        with self._changed:
            if self._thread is None and not self._closing:
                self._thread = threading.Thread(target=self._run, name="feedback", daemon=True)
                self._thread.start()

    def close(self, seconds: float = 10) -> None:
        """Write what is queued and stop the thread; wait at most `seconds`."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread:
            self._thread.join(seconds)

    def keep(self, kept: Sequence[KeptPrediction]) -> bool:
        """Queue predictions, without waiting. Return False if the queue has no room for them."""
        size = sum(len(prediction.text) for prediction in kept)
        with self._changed:
            count, characters = len(self._predictions) + len(kept), self._characters + size
            fits = count <= _MAX_PREDICTIONS and characters <= _MAX_CHARACTERS
            if fits := fits and not self._closing:
                self._predictions.extend(kept)
                self._characters = characters
                self._changed.notify()
        if not fits:
            self._on_written(0, len(kept))
        self.start()
        return fits

    def add(self, item: NewFeedback, seconds: float | None = None) -> Feedback:
        """Store feedback durably and return it, within `seconds`.

        Raises:
            FeedbackError: It refers to an unknown prediction, or reuses an idempotency key.
            StoreError: The database failed.
            DeadlineError: The database was too slow. The feedback may be stored nevertheless.
        """
        future: Future[Feedback] = Future()
        with self._changed:
            if self._closing:
                raise StoreError("the server is shutting down", code="shutting-down")
            self._feedback.append((item, future))
            self._changed.notify()
        self.start()
        try:
            return future.result(seconds)
        except TimeoutError:
            future.cancel()
            raise DeadlineError("the database did not store the feedback in time") from None

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(self._has_work, self._seconds_to_expiry())
                if self._feedback:
                    self._changed.wait_for(self._is_complete, self._linger)
                kept = _take(self._predictions)
                self._characters -= sum(len(prediction.text) for prediction in kept)
                waiting = _take(self._feedback)
                if self._closing and not kept and not waiting:
                    return
            # The predictions first: the feedback may refer to them.
            if kept:
                self._write_predictions(kept)
            if waiting := [entry for entry in waiting if entry[1].set_running_or_notify_cancel()]:
                self._write_feedback(waiting)
            self._expire()

    def _has_work(self) -> bool:
        return bool(self._predictions or self._feedback or self._closing)

    def _is_complete(self) -> bool:
        return len(self._feedback) >= self._expected or self._closing

    def _write_predictions(self, kept: Sequence[KeptPrediction]) -> None:
        stored = 0
        if time.monotonic() >= self._retry_at:
            try:
                self._open().add_predictions(kept)
                stored, self._last_error = len(kept), ""
            except Exception as error:  # noqa: BLE001  # the thread must survive any error
                self._report(error)
        self._on_written(stored, len(kept) - stored)

    def _write_feedback(self, waiting: Sequence[Waiting]) -> None:
        begun = time.monotonic()
        outcomes: Sequence[Feedback | Exception]
        try:
            outcomes = self._open().add([item for item, _ in waiting])
        except Exception as error:  # noqa: BLE001  # `add` raises it
            outcomes = [error] * len(waiting)
        for (_, future), outcome in zip(waiting, outcomes, strict=True):
            if isinstance(outcome, Feedback):
                future.set_result(outcome)
            else:
                future.set_exception(outcome)
        # Callers often send the next feedback at once. Waiting for them a moment makes batches of
        # all callers, rather than of one half while the other half is being stored.
        self._expected = len(waiting) + len(self._feedback)
        self._linger = _LINGER_SHARE * (time.monotonic() - begun)

    def _seconds_to_expiry(self) -> float | None:
        return None if self._keep_days is None else max(0.0, self._expire_at - time.monotonic())

    def _expire(self) -> None:
        if self._keep_days is None or time.monotonic() < self._expire_at:
            return
        self._expire_at = time.monotonic() + _EXPIRE_EVERY
        try:
            count = expire(self._open().database, time.time() - self._keep_days * 86_400)
        except Exception as error:  # noqa: BLE001  # as above
            self._report(error)
        else:
            if count:
                _log.info(
                    "deleted %d predictions and feedback after %g days", count, self._keep_days
                )

    def _report(self, error: Exception) -> None:
        """Log an error, but not again for every batch."""
        self._retry_at = time.monotonic() + _RETRY_AFTER_ERROR
        if str(error) != self._last_error:
            is_bug = not isinstance(error, StoreError)
            _log.error(
                "predictions cannot be stored: %s", error, exc_info=error if is_bug else None
            )
        self._last_error = str(error)


def _take(queue: deque[_T]) -> list[_T]:
    return [queue.popleft() for _ in range(min(_BATCH, len(queue)))]
