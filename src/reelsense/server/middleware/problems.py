"""Map exceptions to problem responses (RFC 9457)."""

from __future__ import annotations

import inspect
import logging
import uuid
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, NoReturn, get_type_hints

from flask import Flask, Response, current_app, g, has_request_context, render_template, request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails
from werkzeug.exceptions import BadRequest, HTTPException

from reelsense.errors import (
    AbandonedError,
    DeadlineError,
    InputError,
    JobStateError,
    NoJobError,
    NoPredictionError,
    NotReadyError,
    OverloadedError,
    ReelsenseError,
    StorageLimitError,
    StoreError,
    TooManyJobsError,
)
from reelsense.server.middleware.cross_site import SECURITY_HEADERS
from reelsense.server.middleware.problem_types import FIELD_CODES, PROBLEM_TYPES, ProblemType
from reelsense.server.middleware.request_context import request_id
from reelsense.server.state import get_state, state_of

_log = logging.getLogger(__name__)

# Tags of the alternatives of a union. They are not part of the pointer to a field.
A_TEXT, A_LIST, A_FLAT_BATCH, A_BATCH = _TAGS = ("a text", "a list", "a flat batch", "a batch")

_MAX_ERRORS = 100  # invalid fields listed in a response; a request may have a million

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
    NoPredictionError: PROBLEM_TYPES["not-found"],
    JobStateError: PROBLEM_TYPES["not-ended"],
    StoreError: PROBLEM_TYPES["storage"],
    StorageLimitError: PROBLEM_TYPES["storage-limit"],
    NotReadyError: PROBLEM_TYPES["not-ready"],
    DeadlineError: PROBLEM_TYPES["deadline-exceeded"],
    AbandonedError: PROBLEM_TYPES["abandoned"],
    OverloadedError: PROBLEM_TYPES["overloaded"],
}


class ResponseModel(BaseModel):
    """Base class of response bodies. `model_validate` also accepts domain objects."""

    model_config = ConfigDict(frozen=True, extra="forbid", from_attributes=True)


def optional(description: str) -> Any:
    """Return a field that may be absent but is never null."""
    return Field(default=None, description=description, json_schema_extra=_without_default)


def _without_default(schema: dict[str, Any]) -> None:
    schema.pop("default")


class TextErrorSchema(ResponseModel):
    """Why a text could not be scored."""

    code: str = Field(description="blank, too-long or unreadable.")
    detail: str


class FieldError(ResponseModel):
    """An invalid field of a request."""

    pointer: str = Field(
        description="Its location: #/texts/3 in the body (RFC 6901), ?sentence in the query, "
        "Idempotency-Key in the headers."
    )
    code: str
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


class InvalidRequestError(InputError):
    """A request has invalid fields, listed in `errors`. Its code is that of the problem type."""

    code = "invalid-request"

    def __init__(self, errors: Sequence[FieldError], *, code: str | None = None) -> None:
        details = [
            f"{error.pointer.lstrip('#/')}: {error.detail}".lstrip(": ") for error in errors[:3]
        ]
        if len(errors) > 3:
            details.append(f"and {len(errors) - 3:,} more")
        super().__init__("; ".join(details), code=code)
        self.errors = list(errors[:_MAX_ERRORS])


def reject(error: ValidationError) -> NoReturn:
    """Raise InvalidRequestError with the invalid fields of `error`."""
    details = error.errors(include_url=False, include_context=False)
    raise invalid([_field_error(detail) for detail in details]) from None


def invalid(errors: Sequence[FieldError]) -> InvalidRequestError:
    """Return the error for invalid fields in the body or query of the current request."""
    return InvalidRequestError(errors, code="bad-request" if _has_query() else None)


def _has_query() -> bool:
    return request.method in ("GET", "HEAD") or request.blueprint == "jobs"


def _field_error(error: ErrorDetails) -> FieldError:
    """Convert an error of pydantic, or of a validator with a field code as its type."""
    kind = error["type"]
    # pydantic: "Input should be ...", "List should have at least 1 item after validation, not 0"
    detail = error["msg"].removeprefix("Input ").removeprefix("List ")
    detail = detail.replace(" after validation", "")
    if kind == "missing":
        code, detail = "missing", "is missing"
    elif kind == "extra_forbidden":
        code = "unknown-field"
        detail = f"is not a field of this request: expected {', '.join(_known_fields())}"
    elif kind.endswith("_type"):
        code, detail = "wrong-type", f"{detail}, not {_json_type(error['input'])}"
    else:
        code = kind if kind in FIELD_CODES else "wrong-value"
    return FieldError(pointer=_pointer(error["loc"]), code=code, detail=detail)


def _known_fields() -> list[str]:
    """Return the fields of the model that validates the current request."""
    view = inspect.unwrap(current_app.view_functions[request.endpoint or ""])
    model: type[BaseModel] = get_type_hints(view)["query" if _has_query() else "body"]
    return list(model.model_fields)


def _pointer(location: tuple[int | str, ...]) -> str:
    # The first part is a field of the request, even if it has the name of a tag.
    parts = [str(part) for n, part in enumerate(location) if n == 0 or part not in _TAGS]
    if _has_query():
        return "?" + "/".join(parts)
    return "/".join(["#", *(part.replace("~", "~0").replace("/", "~1") for part in parts)])


def _json_type(value: object) -> str:
    names: dict[type, str] = {
        dict: "an object",
        list: "a list",
        str: "a string",
        bool: "a boolean",
        int: "a number",
        float: "a number",
    }
    return names.get(type(value), "null")


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
