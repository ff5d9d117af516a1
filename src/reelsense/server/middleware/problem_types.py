"""The kinds of error there are, for the answers and for the pages that explain them."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

GONE = 499
"""The status, in the log, of a request whose client went away; nginx's."""


@dataclass(frozen=True, slots=True)
class ProblemType:
    """A kind of error."""

    code: str
    """Does not change between versions."""
    status: int
    title: str
    advice: str
    """What it means for the client, and what to do."""

    @property
    def uri(self) -> str:
        """Where it is explained, on this server; about:blank: the status says it all."""
        return f"/docs/errors#{self.code}" if self.code in KINDS else "about:blank"


KINDS = {
    kind.code: kind
    for kind in (
        ProblemType(
            "invalid-json",
            HTTPStatus.BAD_REQUEST,
            "The body is not JSON",
            "The detail names the line and column. NaN and Infinity are no JSON either.",
        ),
        ProblemType(
            "bad-request",
            HTTPStatus.BAD_REQUEST,
            "The request cannot be understood",
            "A parameter is missing, the body is not what its headers announce, or it is not HTTP.",
        ),
        ProblemType(
            "unauthorized",
            HTTPStatus.UNAUTHORIZED,
            "A key is needed",
            "Send one of the server's keys with the header Authorization: Bearer KEY; on the page, "
            "sign in with it.",
        ),
        ProblemType(
            "forbidden",
            HTTPStatus.FORBIDDEN,
            "This is not open to you",
            "The key opens other things than this one, or a page of another site asked.",
        ),
        ProblemType(
            "not-found",
            HTTPStatus.NOT_FOUND,
            "There is nothing at this address",
            "/openapi.json lists what there is. The model is called default; name no version.",
        ),
        ProblemType(
            "method-not-allowed",
            HTTPStatus.METHOD_NOT_ALLOWED,
            "This address takes other methods",
            "The header Allow lists them.",
        ),
        ProblemType(
            "request-timeout",
            HTTPStatus.REQUEST_TIMEOUT,
            "The request did not arrive in time",
            "Send it faster, or less at a time.",
        ),
        ProblemType(
            "not-ended",
            HTTPStatus.CONFLICT,
            "The job has not ended",
            "Ask for the job until its state is done, then for its result.",
        ),
        ProblemType(
            "body-too-large",
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            "The body is too large",
            "Send fewer or shorter texts at a time, and a file in parts: /v1/info has the limits. "
            "reelsense predict --input takes files of any size.",
        ),
        ProblemType(
            "unsupported-media-type",
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "The body is of a type that is not taken here",
            "Send JSON with the header Content-Type: application/json; a file of texts as it "
            "is, with its name or its own type.",
        ),
        ProblemType(
            "invalid-request",
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "The request has wrong fields",
            "errors names every one of them. Sent again as it is, it will be refused again.",
        ),
        ProblemType(
            "rate-limited",
            HTTPStatus.TOO_MANY_REQUESTS,
            "You ask too often",
            "Ask again after the seconds in the header Retry-After; X-RateLimit-Limit has the "
            "limit. Several texts in one request count as one.",
        ),
        ProblemType(
            "overloaded",
            HTTPStatus.TOO_MANY_REQUESTS,
            "The server has its hands full",
            "Ask again after the seconds in the header Retry-After. Nothing of this request was "
            "read.",
        ),
        ProblemType(
            "head-too-large",
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            "The address and headers are too long",
            "Send the text in a body: POST /v1/predict.",
        ),
        ProblemType(
            "abandoned",
            GONE,
            "The client went away",
            "Only the log and the metrics see this one: nobody listens.",
        ),
        ProblemType(
            "internal-error",
            HTTPStatus.INTERNAL_SERVER_ERROR,
            "The server made a mistake",
            "This is a fault of the server; its log has more under the request_id.",
        ),
        ProblemType(
            "not-ready",
            HTTPStatus.SERVICE_UNAVAILABLE,
            "The model is not ready",
            "Ask again after the seconds in the header Retry-After.",
        ),
        ProblemType(
            "storage",
            HTTPStatus.INSUFFICIENT_STORAGE,
            "Jobs cannot be kept now",
            "The database of the server is full, locked or not to be reached; its log tells more. "
            "Everything else goes on.",
        ),
        ProblemType(
            "deadline-exceeded",
            HTTPStatus.GATEWAY_TIMEOUT,
            "The answer was not there in time",
            "Send fewer texts at a time, or ask again when the server has less to do: /v1/info has "
            "the deadline.",
        ),
    )
}

FIELD_CODES = {
    "missing": "The field is needed.",
    "unknown-field": "There is no field of that name.",
    "wrong-type": "The field is of another JSON type.",
    "wrong-value": "The type is right, the value is not.",
    "blank": "The text is empty, or nothing but white space.",
    "too-long": "The text has more characters than the server takes.",
    "too-many": "There are more entries or fields than the server takes.",
    "unreadable": "The text holds nothing that the model can read.",
    "one-of": "One of several fields is needed, and only one.",
    "no-thresholds": "The model cannot say which answers keep to a risk.",
    "pair": "This model reads one text at a time, no pairs.",
    "unusable-file": "The file is no table of texts that can be scored.",
    "no-such-column": "The file has no column of that name.",
    "no-such-encoding": "No encoding of that name is known.",
    "wrong-shape": "The shape says another number of texts than there are.",
}
"""The codes of wrong fields and of texts that cannot be scored."""
