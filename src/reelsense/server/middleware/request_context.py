"""Id, deadline and timings of a request, for the response, the log and the metrics."""

from __future__ import annotations

import logging
import re
import uuid
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, g, has_request_context, request
from structlog.contextvars import bind_contextvars, clear_contextvars

from reelsense.inference.call_context import CallContext
from reelsense.server.middleware.logging import loggable
from reelsense.server.state import get_state

_log = logging.getLogger(__name__)

# Ids accepted from clients: nothing that could forge a log line.
_REQUEST_ID = re.compile(r"[\w.:/+=@-]{1,128}", re.ASCII)

# Requested by machines every few seconds, and logged at level debug.
_POLLED = {"/healthz", "/readyz", "/startedz", "/metrics", "/v2/health/live", "/v2/health/ready"}

# Statuses for which the log has the client's address.
_LOG_ADDRESS = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS}


def register(app: Flask) -> None:
    """Let `app` identify, time, log and count its requests."""
    app.before_request(_begin)
    app.after_request(_end)


def call_context() -> CallContext:
    """Return the call context of the current request."""
    context: CallContext = g.context
    return context


def request_id() -> str:
    """Return the id of the current request; "-" outside of a request."""
    return g.get("request_id", "-") if has_request_context() else "-"


def is_polled() -> bool:
    """Return whether machines send the current request every few seconds."""
    return request.path in _POLLED


def _begin() -> None:
    sent = request.headers.get("X-Request-ID", "")
    g.request_id = sent if _REQUEST_ID.fullmatch(sent) else uuid.uuid4().hex
    clear_contextvars()
    bind_contextvars(request_id=g.request_id)
    # waitress knows whether the client is still connected; test clients do not.
    is_disconnected = request.environ.get("waitress.client_disconnected", lambda: False)
    g.context = CallContext(get_state().settings.deadline, is_disconnected)


def _end(response: Response) -> Response:
    context, status = call_context(), response.status_code
    response.headers["X-Request-ID"] = request_id()
    phases = {"queue": context.queue, "tokenize": context.tokenize, "network": context.network}
    if not any(phases.values()):  # no text was scored
        phases = {}
    else:
        response.headers["Server-Timing"] = ", ".join(
            f"{name};dur={seconds * 1000:.2f}" for name, seconds in phases.items()
        )
    route = request.url_rule.rule if request.url_rule else "none"
    get_state().metrics.record_request(route, request.method, status, context.elapsed)
    _log.log(
        _level(status),
        # Without the query, which may contain a review.
        "%s %s %d",
        loggable(request.method),
        loggable(request.path),
        status,
        extra=_log_fields(phases, status),
    )
    return response


def _level(status: int) -> int:
    if is_polled():
        return logging.DEBUG
    return logging.WARNING if status >= HTTPStatus.INTERNAL_SERVER_ERROR else logging.INFO


def _log_fields(phases: dict[str, float], status: int) -> dict[str, Any]:
    fields: dict[str, Any] = {"ms": round(call_context().elapsed * 1000, 1)}
    if status in _LOG_ADDRESS:
        fields["address"] = request.remote_addr
    fields |= {f"{name}_ms": round(seconds * 1000, 1) for name, seconds in phases.items()}
    if "classifier" in g:
        fields["model"] = g.classifier.manifest.version
    if "model_name" in g:
        fields["model_name"] = g.model_name
    if "key" in g:
        fields["key"] = g.key.name
    if "texts" in g:
        fields["texts"] = g.texts
    return fields
