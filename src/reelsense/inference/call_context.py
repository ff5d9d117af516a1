"""The time that one call may take, and where it went.

Knows seconds. Knows neither texts nor who waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from reelsense.errors import AbandonedError, DeadlineError


class CallContext:
    """The clock of one call, in seconds. Passed down with it; not for several calls at once."""

    def __init__(
        self,
        limit: float | None = None,
        abandoned: Callable[[], bool] = lambda: False,
        *,
        background: bool = False,
    ) -> None:
        """Start. The call is given up after `limit` seconds, if any, or once it is `abandoned`.

        What is `background` is computed when nothing else waits, and not remembered.
        """
        self.started = time.monotonic()
        self.limit = limit
        self.background = background
        self._abandoned = abandoned
        self.tokenize = 0.0
        """Spent on cleaning and cutting texts into tokens."""
        self.queue = 0.0
        """Spent waiting: for the network to come free, or for another call that was computing the
        same text."""
        self.network = 0.0
        """During which the network read at least one of the texts."""
        self.cache_hits = 0
        """Texts (not seconds) that were not computed for this call: their answers were known, or
        another call was computing them."""
        self.computed = 0
        """Texts that were."""

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    @property
    def left(self) -> float | None:
        """Seconds until the call is given up, 0 or more; None: it may take as long as it takes."""
        return None if self.limit is None else max(0.0, self.limit - self.elapsed)

    def check(self) -> None:
        """Raise DeadlineError if no time is left, AbandonedError if nobody waits."""
        if fault := self.fault():
            raise fault

    def fault(self) -> DeadlineError | AbandonedError | None:
        """Return why the call is to be given up, if it is."""
        if self.left == 0:
            return self.expired()
        return AbandonedError("nobody waits for the answer any more") if self._abandoned() else None

    def expired(self) -> DeadlineError:
        """Return the error that says no time is left."""
        return DeadlineError(f"the answer was not there after {self.limit:g} seconds")

    @contextmanager
    def tokenizing(self) -> Iterator[None]:
        """Count the time of the block as tokenizing."""
        begun = time.monotonic()
        yield
        self.tokenize += time.monotonic() - begun

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time of the block as waiting, whatever comes of it."""
        begun = time.monotonic()
        try:
            yield
        finally:
            self.queue += time.monotonic() - begun
