"""The types of problems, for error responses and for the page that explains them."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

CLIENT_CLOSED_REQUEST = 499
"""Status in the log when the client disconnected; nginx uses it too."""


@dataclass(frozen=True, slots=True)
class ProblemType:
    """A type of problem (RFC 9457)."""

    code: str
    """Stable between versions."""
    status: int
    title: str
    advice: str
    """What the problem means for the client, and what to do."""

    @property
    def uri(self) -> str:
        """Path of its explanation on this server; about:blank if the status is the explanation."""
        return f"/docs/errors#{self.code}" if self.code in PROBLEM_TYPES else "about:blank"


PROBLEM_TYPES = {
    problem.code: problem
    for problem in (
        ProblemType(
            "invalid-json",
            HTTPStatus.BAD_REQUEST,
            "The body is not valid JSON",
            "The detail names the line and column. NaN and Infinity are not valid JSON.",
        ),
        ProblemType(
            "bad-request",
            HTTPStatus.BAD_REQUEST,
            "The request is malformed",
            "A query parameter is missing or invalid, the body does not match its headers, or the "
            "request is not HTTP.",
        ),
        ProblemType(
            "unauthorized",
            HTTPStatus.UNAUTHORIZED,
            "An API key is required",
            "Send an API key of this server in the header Authorization: Bearer KEY. In a browser, "
            "sign in with it.",
        ),
        ProblemType(
            "forbidden",
            HTTPStatus.FORBIDDEN,
            "Access denied",
            "The key is not valid for this endpoint, or a page of another site sent the request.",
        ),
        ProblemType(
            "not-found",
            HTTPStatus.NOT_FOUND,
            "Not found",
            "/openapi.json lists all endpoints. The model is called default and has no versions.",
        ),
        ProblemType(
            "method-not-allowed",
            HTTPStatus.METHOD_NOT_ALLOWED,
            "Method not allowed",
            "The header Allow lists the methods of this endpoint.",
        ),
        ProblemType(
            "request-timeout",
            HTTPStatus.REQUEST_TIMEOUT,
            "The request did not arrive in time",
            "Send the request faster, or split it.",
        ),
        ProblemType(
            "not-ended",
            HTTPStatus.CONFLICT,
            "The job has not ended",
            "Poll the job until its state is done, then request its result.",
        ),
        ProblemType(
            "body-too-large",
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            "The request body is too large",
            "Send fewer or shorter texts per request, and split files: /v1/info has the limits. "
            "The command reelsense predict --input accepts files of any size.",
        ),
        ProblemType(
            "unsupported-media-type",
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "Unsupported media type",
            "Send JSON with the header Content-Type: application/json. Send a file of texts "
            "unchanged, with its name or its media type.",
        ),
        ProblemType(
            "invalid-request",
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "The request has invalid fields",
            "The member errors lists each invalid field. Correct them before trying again.",
        ),
        ProblemType(
            "rate-limited",
            HTTPStatus.TOO_MANY_REQUESTS,
            "Rate limit exceeded",
            "Try again after the number of seconds in the header Retry-After; X-RateLimit-Limit "
            "has the limit. A request with several texts counts once.",
        ),
        ProblemType(
            "overloaded",
            HTTPStatus.TOO_MANY_REQUESTS,
            "The server is at capacity",
            "Try again after the number of seconds in the header Retry-After. The request was not "
            "processed.",
        ),
        ProblemType(
            "head-too-large",
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            "The URL and headers are too long",
            "Send the text in the body: POST /v1/predict.",
        ),
        ProblemType(
            "abandoned",
            CLIENT_CLOSED_REQUEST,
            "The client disconnected",
            "Appears in the log and the metrics only, because there is no client to respond to.",
        ),
        ProblemType(
            "internal-error",
            HTTPStatus.INTERNAL_SERVER_ERROR,
            "Internal server error",
            "This is a bug in the server. Its log has the details under the request_id.",
        ),
        ProblemType(
            "not-ready",
            HTTPStatus.SERVICE_UNAVAILABLE,
            "The model is not ready",
            "Try again after the number of seconds in the header Retry-After.",
        ),
        ProblemType(
            "storage",
            HTTPStatus.INSUFFICIENT_STORAGE,
            "The database of jobs is not available",
            "It is full, locked or unreachable; the log of the server has the details. Endpoints "
            "without jobs still work.",
        ),
        ProblemType(
            "deadline-exceeded",
            HTTPStatus.GATEWAY_TIMEOUT,
            "Deadline exceeded",
            "Send fewer texts per request, or try again when the server is less busy: /v1/info has "
            "the deadline.",
        ),
    )
}

FIELD_CODES = {
    "missing": "The field is required.",
    "unknown-field": "The request has no field of that name.",
    "wrong-type": "The field has the wrong JSON type.",
    "wrong-value": "The field has the right type, but an invalid value.",
    "blank": "The text is empty or only white space.",
    "too-long": "The text has more characters than the server accepts.",
    "too-many": "There are more entries or fields than the server accepts.",
    "unreadable": "The text contains nothing that the model can read.",
    "one-of": "Exactly one of several fields is required.",
    "no-thresholds": "The model has no decision thresholds for a target error rate.",
    "pair": "This model accepts single texts, not pairs.",
    "unusable-file": "The file is not a table of texts that can be scored.",
    "no-such-column": "The file has no column of that name.",
    "no-such-encoding": "The encoding is unknown.",
    "wrong-shape": "The shape does not match the number of texts.",
}
"""The codes of invalid fields, and of texts that cannot be scored."""
