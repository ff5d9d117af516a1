"""Load shedding: requests beyond capacity get 429 before their body is parsed."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from flask import Flask, Response, g, request

from reelsense.errors import OverloadedError
from reelsense.server.middleware.content_encoding import body_size
from reelsense.server.middleware.endpoints import gives_feedback, runs_model
from reelsense.server.middleware.request_context import call_context
from reelsense.server.model_holder import classifier
from reelsense.server.state import get_state

# Maximum number of concurrent requests to the database of jobs, which may be slow. Each occupies a
# thread; more would only wait for a connection to the database.
MAX_JOB_REQUESTS = 16

# Likewise for feedback. A single thread writes it, so its requests need no connections.
MAX_FEEDBACK_REQUESTS = 64

_JOB_BLUEPRINTS = {"jobs", "job_pages", "queue_page", "summaries"}

_View = TypeVar("_View", bound=Callable[..., object])


class LoadShedder:
    """Limits the number of concurrent requests, and the total size of their bodies.

    Args:
        max_requests: Maximum number of concurrent requests.
        max_bytes: Maximum total size of their bodies. A larger request is accepted while there is
            no other.
        on_change: Called with the number of requests and of bytes when they change.
    """

    def __init__(
        self,
        max_requests: int,
        max_bytes: int,
        on_change: Callable[[int, int], None] = lambda *_: None,
    ) -> None:
        self.requests = self.bytes = 0
        self._max_requests, self._max_bytes = max_requests, max_bytes
        self._on_change = on_change
        self._last_duration = 0.0
        self._lock = threading.Lock()

    def enter(self, size: int) -> None:
        """Accept a request of `size` bytes. Raises OverloadedError if a limit is reached."""
        with self._lock:
            full = self.requests >= self._max_requests
            if full or (self.requests and self.bytes + size > self._max_bytes):
                retry_after = max(1, math.ceil(self._last_duration))
                raise OverloadedError(
                    f"server is at capacity: try again in {retry_after} s", retry_after
                )
            self._change(1, size)

    def leave(self, size: int, seconds: float) -> None:
        """Release a request of `size` bytes that took `seconds`."""
        with self._lock:
            self._last_duration = seconds
            self._change(-1, -size)

    def _change(self, requests: int, size: int) -> None:
        self.requests += requests
        self.bytes += size
        self._on_change(self.requests, self.bytes)


def limit_concurrency(view: _View) -> _View:
    """Mark a view that runs the model, so that its requests count towards the limits."""
    view.limit_concurrency = True  # type: ignore[attr-defined]
    return view


def register(app: Flask) -> None:
    """Let `app` reject requests beyond its capacity."""
    app.before_request(_enter)
    app.after_request(_leave_after_streaming)
    app.teardown_request(_leave)


def _enter() -> None:
    if request.method == "OPTIONS":
        return
    if request.blueprint in _JOB_BLUEPRINTS:
        _accept(get_state().jobs_load_shedder, 0)
        return
    if gives_feedback():
        _accept(get_state().feedback_load_shedder, 0)
        return
    if not runs_model():
        return
    _accept(get_state().load_shedder, body_size() + len(request.query_string))
    # A worker that just replaced another may still be loading its model.
    classifier(call_context().remaining or 0)


def _accept(load_shedder: LoadShedder, size: int) -> None:
    load_shedder.enter(size)
    g.leave = partial(load_shedder.leave, size)


def _leave_after_streaming(response: Response) -> Response:
    """Count a streamed response as in flight until it is sent."""
    if response.is_streamed and (leave := g.pop("leave", None)):
        context = call_context()
        response.call_on_close(lambda: leave(context.elapsed))
    return response


def _leave(_error: BaseException | None) -> None:
    if leave := g.pop("leave", None):
        leave(call_context().elapsed)
