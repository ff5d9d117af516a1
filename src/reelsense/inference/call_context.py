"""Deadline, cancellation and timings of one call. Does not know texts or callers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from reelsense.errors import AbandonedError, DeadlineError


class CallContext:
    """Deadline, cancellation and timings of one call. Not reentrant.

    Attributes:
        timeout: Seconds that the call may take; None: unlimited.
        background: Whether the call yields to all others and bypasses the cache.
        tokenize: Seconds spent on cleaning and tokenizing.
        queue: Seconds spent on waiting for a free network, or for another call that computed the
            same text.
        network: Seconds during which the network ran at least one window of the call.
        cache_hits: Texts whose scores were cached or being computed by another call.
        computed: Texts whose scores were computed for this call.
    """

    def __init__(
        self,
        timeout: float | None = None,
        is_cancelled: Callable[[], bool] = lambda: False,
        *,
        background: bool = False,
    ) -> None:
        """Start the call.

        Args:
            timeout: Seconds until the deadline; None: no deadline.
            is_cancelled: Returns whether the caller has disconnected; called from any thread.
            background: Compute only when no other call waits, and do not cache.
        """
        self.timeout = timeout
        self.background = background
        self.tokenize = self.queue = self.network = 0.0
        self.cache_hits = self.computed = 0
        self._is_cancelled = is_cancelled
        self._started = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    @property
    def remaining(self) -> float | None:
        """Seconds until the deadline, at least 0; None: no deadline."""
        return None if self.timeout is None else max(0.0, self.timeout - self.elapsed)

    def check(self) -> None:
        """Raise DeadlineError or AbandonedError if the call has to stop."""
        if error := self.error():
            raise error

    def error(self) -> DeadlineError | AbandonedError | None:
        """Return why the call has to stop; None: it may continue."""
        if self.remaining == 0:
            return self.deadline_error()
        if self._is_cancelled():
            return AbandonedError("the call was cancelled: the client disconnected")
        return None

    def deadline_error(self) -> DeadlineError:
        """Return the error for the passed deadline."""
        return DeadlineError(f"the deadline of {self.timeout:g} seconds has passed")

    @contextmanager
    def tokenizing(self) -> Iterator[None]:
        """Add the duration of the block to `tokenize` if it succeeds."""
        start = time.monotonic()
        yield
        self.tokenize += time.monotonic() - start

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Add the duration of the block to `queue`, even if it fails."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.queue += time.monotonic() - start
