"""Errors to answers: one table of statuses, and RFC 9457 problem documents."""

from __future__ import annotations

import json
import logging
from http import HTTPStatus

from flask import Flask, Response
from werkzeug.exceptions import HTTPException, InternalServerError

from reelsense.errors import InputError, NotReadyError, ReelsenseError

_STATUS: dict[type[ReelsenseError], HTTPStatus] = {
    InputError: HTTPStatus.UNPROCESSABLE_ENTITY,
    NotReadyError: HTTPStatus.SERVICE_UNAVAILABLE,
}
_RETRY_AFTER = {HTTPStatus.SERVICE_UNAVAILABLE: "1"}  # seconds

_log = logging.getLogger(__name__)


def register(app: Flask) -> None:
    """Let `app` answer every error with a problem document."""
    app.register_error_handler(ReelsenseError, _domain_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _bug)


def _domain_error(error: ReelsenseError) -> Response:
    for kind, status in _STATUS.items():
        if isinstance(error, kind):
            return _problem(status, str(error))
    return _bug(error)


def _http_error(error: HTTPException) -> Response:
    status = HTTPStatus(error.code or 500)
    answer = _problem(status, error.description or "")
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        answer.headers["Allow"] = dict(error.get_headers()).get("Allow", "")
    return answer


def _bug(error: Exception) -> Response:
    _log.error("a request failed", exc_info=error)
    return _problem(HTTPStatus.INTERNAL_SERVER_ERROR, InternalServerError.description)


def _problem(status: HTTPStatus, detail: str) -> Response:
    document = {"title": status.phrase, "status": status.value, "detail": detail}
    answer = Response(
        json.dumps(document) + "\n", status=status, content_type="application/problem+json"
    )
    if status in _RETRY_AFTER:
        answer.headers["Retry-After"] = _RETRY_AFTER[status]
    return answer
