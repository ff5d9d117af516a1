"""How much may be in hand at a time: what comes beyond is told to come back, before it is read.

Knows sizes. Knows neither who asks nor what.
"""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from flask import Flask, Response, current_app, g, request

from reelsense.errors import OverloadedError
from reelsense.server.middleware.request_context import call_context
from reelsense.server.model_holder import classifier

JOBS = 16
"""Requests to the database of jobs in hand at a time, each in a thread of its own: more would wait
for a connection to it. They may take long, where it is large, locked or far away."""

_OF_JOBS = {"jobs", "job_pages"}
"""Blueprints."""

_View = TypeVar("_View", bound=Callable[..., object])


class LoadShedder:
    """Requests in hand, and the bytes of their bodies, within bounds."""

    def __init__(
        self, most: int, most_bytes: int, tell: Callable[[int, int], None] = lambda *_: None
    ) -> None:
        """Let `most` requests in at a time, with `most_bytes` in all.

        A request that is larger than that is let in where it is alone. `tell` is told how many
        there are, and how many bytes, whenever that changes.
        """
        self.requests = self.bytes = 0
        self._tell = tell
        self._most, self._most_bytes = most, most_bytes
        self._last = 0.0
        self._lock = threading.Lock()

    def enter(self, size: int) -> None:
        """Let in a request of `size` bytes. Raises OverloadedError."""
        with self._lock:
            full = self.requests >= self._most
            if full or (self.requests and self.bytes + size > self._most_bytes):
                raise OverloadedError(
                    "as much is in hand already as can be answered in time",
                    max(1, math.ceil(self._last)),
                )
            self.requests += 1
            self.bytes += size
            self._tell(self.requests, self.bytes)

    def leave(self, size: int, took: float) -> None:
        """Let go of a request of `size` bytes that took so many seconds."""
        with self._lock:
            self.requests -= 1
            self.bytes -= size
            self._last = took
            self._tell(self.requests, self.bytes)


def scoring(view: _View) -> _View:
    """Say of a view that it asks the model: it is let in while there is room."""
    view.scoring = True  # type: ignore[attr-defined]
    return view


def register(app: Flask) -> None:
    """Let `app` refuse what it cannot answer in time."""
    settings = app.extensions["reelsense"].settings
    app.extensions["reelsense.admission"] = LoadShedder(
        settings.max_concurrent_requests,
        settings.max_concurrent_bytes,
        app.extensions["reelsense.metrics"].in_hand,
    )
    app.before_request(_enter)
    app.after_request(_hold)
    app.teardown_request(_leave)

    app.extensions["reelsense.jobs.admission"] = LoadShedder(JOBS, sys.maxsize)


def get_load_shedder() -> LoadShedder:
    """Return the admission of the current application."""
    found: LoadShedder = current_app.extensions["reelsense.admission"]
    return found


def _enter() -> None:
    if request.method == "OPTIONS":
        return
    if request.blueprint in _OF_JOBS:
        _admit(current_app.extensions["reelsense.jobs.admission"], 0)
        return
    view = current_app.view_functions.get(request.endpoint or "")
    if not getattr(view, "scoring", False):
        return
    # Without a Content-Length nothing is known of it yet; a web server that reads bodies whole
    # before they get here sets one.
    _admit(get_load_shedder(), (request.content_length or 0) + len(request.query_string))
    # A worker that has just taken the place of another may be loading yet.
    classifier(call_context().remaining or 0)


def _admit(into: LoadShedder, size: int) -> None:
    into.enter(size)
    g.leave = partial(into.leave, size)


def _hold(answer: Response) -> Response:
    """Count an answer that is made while it is sent as in hand until then."""
    if answer.is_streamed and (leave := g.pop("leave", None)):
        running = call_context()
        answer.call_on_close(lambda: leave(running.elapsed))
    return answer


def _leave(_error: BaseException | None) -> None:
    if leave := g.pop("leave", None):
        leave(call_context().elapsed)
