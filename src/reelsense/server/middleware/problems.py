"""Map exceptions to problem responses (RFC 9457)."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, g, has_request_context, render_template, request
from pydantic import ConfigDict, Field
from werkzeug.exceptions import BadRequest, HTTPException

from reelsense.errors import (
    AbandonedError,
    DeadlineError,
    InputError,
    JobStateError,
    NoJobError,
    NoModelError,
    NoPredictionError,
    NotReadyError,
    OverloadedError,
    ReelsenseError,
    StorageLimitError,
    StoreError,
    TooManyJobsError,
)
from reelsense.server.middleware.cross_site import SECURITY_HEADERS
from reelsense.server.middleware.field_errors import (
    FieldError,
    InvalidRequestError,
    ResponseModel,
    optional,
)
from reelsense.server.middleware.problem_types import PROBLEM_TYPES, ProblemType
from reelsense.server.middleware.request_context import request_id
from reelsense.server.state import get_state, state_of

_log = logging.getLogger(__name__)

_MEDIA_TYPE = "application/problem+json"

_PAGE_BLUEPRINTS = {
    *(None, "feedback_page", "job_pages", "model_page", "pages", "queue_page", "review_page")
}

# Paths of the interfaces of other servers, whose clients expect more fields.
_COMPATIBLE = ("/models/", "/predict", "/invocations", "/v2")

_BY_STATUS: dict[int, ProblemType] = {
    problem.status: problem for problem in reversed(PROBLEM_TYPES.values())
} | {HTTPStatus.BAD_REQUEST: PROBLEM_TYPES["bad-request"]}
_BY_ERROR: dict[type[ReelsenseError], ProblemType] = {
    InputError: PROBLEM_TYPES["invalid-request"],
    NoJobError: PROBLEM_TYPES["not-found"],
    NoModelError: PROBLEM_TYPES["not-found"],
    NoPredictionError: PROBLEM_TYPES["not-found"],
    JobStateError: PROBLEM_TYPES["not-ended"],
    StoreError: PROBLEM_TYPES["storage"],
    StorageLimitError: PROBLEM_TYPES["storage-limit"],
    NotReadyError: PROBLEM_TYPES["not-ready"],
    DeadlineError: PROBLEM_TYPES["deadline-exceeded"],
    AbandonedError: PROBLEM_TYPES["abandoned"],
    OverloadedError: PROBLEM_TYPES["overloaded"],
}


class TextErrorSchema(ResponseModel):
    """Why a text could not be scored."""

    code: str = Field(description="blank, too-long or unreadable.")
    detail: str


class Problem(ResponseModel):
    """A problem document (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="Path of the explanation of this type of problem.")
    title: str
    status: int
    detail: str
    code: str = Field(description="The type of problem. Stable between versions.")
    request_id: str = Field(description="As in the header X-Request-ID and the server's log.")
    errors: list[FieldError] = optional("The invalid fields.")
    error: str = optional("The detail again, where clients of other servers expect it.")
    error_type: str = optional("validation or backend, for text-embeddings-inference clients.")


class NotJsonError(BadRequest):
    """The body of a request is not JSON."""


def register(app: Flask) -> None:
    """Let `app` answer every error with a problem document."""
    app.register_error_handler(ReelsenseError, _handle_domain_error)
    app.register_error_handler(HTTPException, _handle_http_error)
    app.register_error_handler(Exception, _handle_bug)


def _handle_domain_error(error: ReelsenseError) -> Response:
    if isinstance(error, InvalidRequestError):
        return _respond(PROBLEM_TYPES[error.code], str(error), errors=error.errors)
    problem = next((_BY_ERROR[kind] for kind in _BY_ERROR if isinstance(error, kind)), None)
    if problem is None:
        return _handle_bug(error)
    if isinstance(error, StoreError):
        _log.error("%s", error)
        return _respond(problem, problem.advice)  # the location of the database is not public
    if isinstance(error, NotReadyError):
        g.retry_after = 1
    elif isinstance(error, OverloadedError):
        g.retry_after = error.retry_after
    metrics_code = error.code if isinstance(error, TooManyJobsError) else None
    return _respond(problem, str(error), metrics_code=metrics_code)


def _handle_http_error(error: HTTPException) -> Response:
    problem = _by_status(HTTPStatus(error.code or 500), error.description)
    if isinstance(error, NotJsonError):
        problem = PROBLEM_TYPES["invalid-json"]
    detail = error.description if error.description != type(error).description else None
    if problem.code == "rate-limited":
        detail = f"rate limit exceeded: {detail}"
    response = _respond(problem, detail or problem.advice)
    for name, value in error.get_headers():  # Allow, Content-Range
        if name != "Content-Type":
            response.headers[name] = value
    return response


def _handle_bug(error: Exception) -> Response:
    _log.error("a request failed", exc_info=error)
    return _respond(PROBLEM_TYPES["internal-error"], PROBLEM_TYPES["internal-error"].advice)


def _by_status(status: HTTPStatus, detail: str | None) -> ProblemType:
    advice = detail or status.phrase
    return _BY_STATUS.get(status) or ProblemType("http-error", status, status.phrase, advice)


def malformed_request_response(
    app: Flask, status: HTTPStatus
) -> tuple[list[tuple[str, str]], bytes]:
    """Return headers and body of the error response to a malformed request, and count it.

    The response and the log contain nothing of what was sent: it may be a key, or text made to
    forge a log line.
    """
    problem = _by_status(status, None)
    new_id = uuid.uuid4().hex
    state_of(app).metrics.record_request("none", "none", status, None)
    _log.info("malformed request: %d", status, extra={"request_id": new_id})
    headers = {"Content-Type": _MEDIA_TYPE, "X-Request-ID": new_id, **SECURITY_HEADERS}
    return list(headers.items()), _document(problem, problem.advice, new_id).encode()


def _respond(
    problem: ProblemType,
    detail: str,
    *,
    errors: Sequence[FieldError] = (),
    metrics_code: str | None = None,
) -> Response:
    """Return the response, and count it under `metrics_code`, by default the problem's code."""
    get_state().metrics.record_problem(metrics_code or problem.code)
    if _is_for_browser():
        page = render_template(
            "problem.html",
            problem_type=problem,
            type_uri=_type_uri(problem),
            detail=detail,
            request_id=request_id(),
        )
        return Response(page, status=problem.status)
    more: dict[str, Any] = {"errors": list(errors)} if errors else {}
    if request.blueprint == "compat" or request.path.startswith(_COMPATIBLE):
        more["error"] = detail
        more["error_type"] = "validation" if problem.status < 500 else "backend"
    document = _document(problem, detail, request_id(), **more)
    return Response(document, status=problem.status, content_type=_MEDIA_TYPE)


def _is_for_browser() -> bool:
    """Return whether a browser navigates to the page, rather than a script of the page."""
    if request.blueprint not in _PAGE_BLUEPRINTS:
        return False
    return request.accept_mimetypes.best_match([_MEDIA_TYPE, "text/html"]) == "text/html"


def _type_uri(problem: ProblemType) -> str:
    """Return where this server explains `problem`; about:blank if the status says all."""
    if problem.code not in PROBLEM_TYPES:
        return "about:blank"
    root_path = request.script_root if has_request_context() else ""
    return f"{root_path}/docs/errors#{problem.code}"


def _document(problem: ProblemType, detail: str, request_id: str, **more: Any) -> str:
    document = Problem(
        type=_type_uri(problem),
        title=problem.title,
        status=problem.status,
        detail=detail,
        code=problem.code,
        request_id=request_id,
        **more,
    )
    return document.model_dump_json(exclude_unset=True) + "\n"
