"""What a request is called and where its time went: in its answer, the log and the metrics."""

from __future__ import annotations

import logging
import re
import uuid
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, g, has_request_context, request
from structlog.contextvars import bind_contextvars, clear_contextvars

from reelsense.inference.call_context import CallContext
from reelsense.server.middleware.logging import as_logged
from reelsense.server.middleware.metrics import metrics
from reelsense.server.model_holder import get_model_holder

_log = logging.getLogger(__name__)

_REQUEST_ID = re.compile(r"[\w.:/+=@-]{1,128}", re.ASCII)
"""What is taken from a client: nothing that could forge a line of the log."""

_POLLED = {"/healthz", "/readyz", "/startedz", "/metrics", "/v2/health/live", "/v2/health/ready"}
"""Asked for again and again by machines."""

_UNWANTED = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS}
"""Whoever runs the server wants to know where these come from."""


def register(app: Flask) -> None:
    """Let `app` name, time and log its requests."""
    app.before_request(_begin)
    app.after_request(_end)


def call_context() -> CallContext:
    """Return the clock of the current request."""
    running: CallContext = g.context
    return running


def request_id() -> str:
    """Return the id of the current request; "-" outside of one."""
    return g.get("request_id", "-") if has_request_context() else "-"


def _begin() -> None:
    given = request.headers.get("X-Request-ID", "")
    g.request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
    clear_contextvars()
    bind_contextvars(request_id=g.request_id)
    # Where the web server knows whether the client still listens, as waitress does.
    gone = request.environ.get("waitress.client_disconnected", lambda: False)
    g.context = CallContext(get_model_holder().settings.deadline, gone)


def _end(answer: Response) -> Response:
    answer.headers["X-Request-ID"] = request_id()
    took = call_context()
    phases = {"queue": took.queue, "tokenize": took.tokenize, "network": took.network}
    if any(phases.values()):
        answer.headers["Server-Timing"] = ", ".join(
            f"{name};dur={seconds * 1000:.2f}" for name, seconds in phases.items()
        )
    metrics().request(
        request.url_rule.rule if request.url_rule else "none",
        request.method,
        answer.status_code,
        took.elapsed,
    )
    _log.log(
        _level(answer.status_code),
        # Without the query: it may hold a review.
        "%s %s %d",
        as_logged(request.method),
        as_logged(request.path),
        answer.status_code,
        extra=_facts(phases, answer.status_code),
    )
    return answer


def _level(status: int) -> int:
    if request.path in _POLLED:
        return logging.DEBUG
    return logging.WARNING if status >= HTTPStatus.INTERNAL_SERVER_ERROR else logging.INFO


def _facts(phases: dict[str, float], status: int) -> dict[str, Any]:
    """Return what the log tells of the current request beside its status."""
    facts: dict[str, Any] = {"ms": round(call_context().elapsed * 1000, 1)}
    if status in _UNWANTED:
        facts["address"] = request.remote_addr
    if any(phases.values()):
        facts |= {f"{name}_ms": round(seconds * 1000, 1) for name, seconds in phases.items()}
    if "classifier" in g:
        facts["model"] = g.classifier.manifest.version
    if "key" in g:
        facts["key"] = g.key.name
    if "texts" in g:
        facts["texts"] = g.texts
    return facts
