"""What a request is called and where its time went: in its answer and in every line of the log."""

from __future__ import annotations

import logging
import re
import sys
import uuid
from typing import Any
from urllib.parse import quote

from flask import Flask, Response, g, has_request_context, request

from reelsense.inference.clock import Clock
from reelsense.server.served import served

_log = logging.getLogger(__name__)

_REQUEST_ID = re.compile(r"[\w.:/+=@-]{1,128}", re.ASCII)
"""What is taken from a client: nothing that could forge a line of the log."""

_POLLED = {"/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"}
"""Asked for again and again by machines."""


def register(app: Flask) -> None:
    """Let `app` name, time and log its requests."""
    app.before_request(_begin)
    app.after_request(_end)


def clock() -> Clock:
    """Return the clock of the current request."""
    running: Clock = g.clock
    return running


def request_id() -> str:
    """Return the id of the current request; "-" outside of one."""
    return g.get("request_id", "-") if has_request_context() else "-"


def _begin() -> None:
    given = request.headers.get("X-Request-ID", "")
    g.request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
    g.clock = Clock(served().settings.deadline)


def _end(answer: Response) -> Response:
    answer.headers["X-Request-ID"] = request_id()
    took = clock()
    phases = {"queue": took.queue, "tokenize": took.tokenize, "network": took.network}
    if any(phases.values()):
        answer.headers["Server-Timing"] = ", ".join(
            f"{name};dur={seconds * 1000:.2f}" for name, seconds in phases.items()
        )
    _log.log(
        logging.DEBUG if request.path in _POLLED else logging.INFO,
        # Without the query: it may hold a review.
        "%s %s %d %.1f ms",
        request.method,
        quote(request.path),
        answer.status_code,
        took.elapsed * 1000,
    )
    return answer


class _RequestId(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id()
        return True


def log_settings(level: str) -> dict[str, Any]:
    """Return the settings, for logging.config.dictConfig, of a log on standard error."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"request_id": {"()": _RequestId}},
        "formatters": {
            "line": {"format": "%(asctime)s %(levelname)-7s [%(request_id)s] %(message)s"}
        },
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "stream": sys.stderr,
                "filters": ["request_id"],
                "formatter": "line",
            }
        },
        "root": {"level": level.upper(), "handlers": ["stderr"]},
        # Its own words on starting and stopping are for its developers.
        "loggers": {"gunicorn.error": {"level": "WARNING", "handlers": [], "propagate": True}},
    }
