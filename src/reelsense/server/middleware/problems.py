"""Errors to answers: one table of the kinds there are, and RFC 9457 problem documents."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, NoReturn

from flask import Flask, Response, g, render_template, request
from pydantic import ConfigDict, Field, ValidationError
from werkzeug.exceptions import BadRequest, HTTPException

from reelsense.errors import (
    AbandonedError,
    DeadlineError,
    InputError,
    JobStateError,
    NoJobError,
    NotReadyError,
    OverloadedError,
    ReelsenseError,
    StoreError,
    TooManyJobsError,
)
from reelsense.server.middleware.auth import FOR_BROWSERS
from reelsense.server.middleware.metrics import metrics
from reelsense.server.middleware.problem_types import FIELD_CODES, KINDS, ProblemType
from reelsense.server.middleware.request_context import request_id
from reelsense.server.middleware.wire_models import TAGS, ResponseModel, optional

_log = logging.getLogger(__name__)

_MOST_NAMED = 100
"""Wrong fields that are listed; a request may have a million."""


class FieldError(ResponseModel):
    """One wrong field of a request."""

    pointer: str = Field(
        description="Where it is: #/texts/3 in the body (RFC 6901), ?sentence in the query."
    )
    code: str
    detail: str


class Problem(ResponseModel):
    """A problem document (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="Where this kind of error is explained, on this server.")
    title: str
    status: int
    detail: str
    code: str = Field(description="The kind of error. Does not change between versions.")
    request_id: str = Field(description="As in the header X-Request-ID and the server's log.")
    errors: list[FieldError] = optional("The wrong fields.")
    error: str = optional("The detail once more, where clients of other servers look for it.")
    error_type: str = optional("validation or backend, for those of text-embeddings-inference.")


class NotJsonError(BadRequest):
    """The body of a request is not JSON."""


class InvalidRequestError(InputError):
    """A request has wrong fields; knows which."""

    def __init__(self, errors: Sequence[FieldError]) -> None:
        named = [f"{each.pointer.lstrip('#/')}: {each.detail}".lstrip(": ") for each in errors[:3]]
        if len(errors) > 3:
            named.append(f"and {len(errors) - 3:,} more")
        super().__init__("; ".join(named))
        self.errors = list(errors[:_MOST_NAMED])


class InvalidQueryError(InvalidRequestError):
    """A request has a wrong query."""


_TYPE = "application/problem+json"

_BY_STATUS: dict[int, ProblemType] = {kind.status: kind for kind in reversed(KINDS.values())} | {
    HTTPStatus.BAD_REQUEST: KINDS["bad-request"]
}
_BY_ERROR: dict[type[ReelsenseError], ProblemType] = {
    InvalidQueryError: KINDS["bad-request"],
    InputError: KINDS["invalid-request"],
    NoJobError: KINDS["not-found"],
    JobStateError: KINDS["not-ended"],
    StoreError: KINDS["storage"],
    NotReadyError: KINDS["not-ready"],
    DeadlineError: KINDS["deadline-exceeded"],
    AbandonedError: KINDS["abandoned"],
    OverloadedError: KINDS["overloaded"],
}
_OF_OTHERS = ("/models/", "/predict", "/v2")
"""Where clients of other servers ask, for what there is and for what there is not."""


def reject(error: ValidationError) -> NoReturn:
    """Raise InvalidRequestError, or InvalidQueryError, naming the fields of `error`."""
    fields = error.errors(include_url=False, include_context=False)
    raise invalid(
        [
            FieldError(
                pointer=_pointer(field["loc"]),
                code=_code(field["type"]),
                detail=_detail(field["type"], field["msg"], field["input"]),
            )
            for field in fields
        ]
    ) from None


def invalid(errors: Sequence[FieldError]) -> InvalidRequestError:
    """Return the error of the current request that has wrong fields."""
    return InvalidQueryError(errors) if _has_query() else InvalidRequestError(errors)


def _has_query() -> bool:
    return request.method in ("GET", "HEAD") or request.blueprint == "jobs"


def _pointer(location: tuple[int | str, ...]) -> str:
    # The first is a field of the request, whatever it is called.
    parts = [str(part) for n, part in enumerate(location) if n == 0 or part not in TAGS]
    if _has_query():
        return "?" + "/".join(parts)
    return "/".join(["#", *(part.replace("~", "~0").replace("/", "~1") for part in parts)])


def _code(kind: str) -> str:
    """Return the code for pydantic's `kind` of error, or one of our own."""
    if kind.endswith("_type"):
        return "wrong-type"
    known = {"missing": "missing", "extra_forbidden": "unknown-field"}
    return known.get(kind) or (kind if kind in FIELD_CODES else "wrong-value")


def _detail(kind: str, message: str, value: object) -> str:
    known = {"missing": "is missing", "extra_forbidden": "is not a field of this request"}
    # pydantic: "Input should be ...", "List should have at least 1 item after validation, not 0"
    said = message.removeprefix("Input ").removeprefix("List ").replace(" after validation", "")
    message = known.get(kind) or said
    return f"{message}, not {_json_type(value)}" if kind.endswith("_type") else message


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
    app.register_error_handler(ReelsenseError, _domain_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _bug)


def _domain_error(error: ReelsenseError) -> Response:
    for kind, answer in _BY_ERROR.items():
        if isinstance(error, kind):
            errors = error.errors if isinstance(error, InvalidRequestError) else []
            if isinstance(error, StoreError):
                _log.error("%s", error)
                return _answer(answer, answer.advice)  # where it is, is not for everyone
            if isinstance(error, NotReadyError):
                g.retry_after = 1
            elif isinstance(error, OverloadedError):
                g.retry_after = error.retry_after
            full = isinstance(error, TooManyJobsError)
            return _answer(answer, str(error), errors, counted="too-many-jobs" if full else "")
    return _bug(error)


def _http_error(error: HTTPException) -> Response:
    kind = _of_status(HTTPStatus(error.code or 500), error.description)
    if isinstance(error, NotJsonError):
        kind = KINDS["invalid-json"]
    said = error.description if error.description != type(error).description else None
    if kind.code == "rate-limited":
        said = f"no more than {said} are answered"
    answer = _answer(kind, said or kind.advice)
    for name, value in error.get_headers():  # Allow, Content-Range
        if name != "Content-Type":
            answer.headers[name] = value
    return answer


def _of_status(status: HTTPStatus, said: str | None) -> ProblemType:
    advice = said or status.phrase
    return _BY_STATUS.get(status) or ProblemType("http-error", status, status.phrase, advice)


def of_no_request(app: Flask, status: HTTPStatus) -> tuple[list[tuple[str, str]], bytes]:
    """Return headers and body of the answer to what is no request, and count it.

    It says nothing of what was sent: that may be a key, or made to forge a line of the log.
    """
    kind = _of_status(status, None)
    made = uuid.uuid4().hex
    with app.app_context():
        metrics().request("none", "none", status, None)
    _log.info("no request: %d", status, extra={"request_id": made})
    headers = [
        ("Content-Type", _TYPE),
        ("X-Request-ID", made),
        *FOR_BROWSERS.items(),
    ]
    return headers, _document(kind, kind.advice, made).encode()


def _bug(error: Exception) -> Response:
    _log.error("a request failed", exc_info=error)
    return _answer(KINDS["internal-error"], KINDS["internal-error"].advice)


def _answer(
    kind: ProblemType, detail: str, errors: Sequence[FieldError] = (), counted: str = ""
) -> Response:
    """Return the answer of a `kind`; the metrics may know it more exactly."""
    metrics().refused(counted or kind.code)
    more: dict[str, Any] = {"errors": list(errors)} if errors else {}
    if request.path.startswith(_OF_OTHERS):
        more["error"] = detail
        more["error_type"] = "validation" if kind.status < 500 else "backend"
    if _is_for_people():
        page = render_template("problem.html", kind=kind, detail=detail, request_id=request_id())
        return Response(page, status=kind.status)
    document = _document(kind, detail, request_id(), **more)
    return Response(document, status=kind.status, content_type=_TYPE)


def _is_for_people() -> bool:
    """Whether a browser asked, and not a script of the page."""
    if request.blueprint not in (None, "job_pages", "model_page", "pages", "review_page"):
        return False
    return request.accept_mimetypes.best_match([_TYPE, "text/html"]) == "text/html"


def _document(kind: ProblemType, detail: str, request_id: str, **more: Any) -> str:
    document = Problem(
        type=kind.uri,
        title=kind.title,
        status=kind.status,
        detail=detail,
        code=kind.code,
        request_id=request_id,
        **more,
    )
    return document.model_dump_json(exclude_unset=True) + "\n"
