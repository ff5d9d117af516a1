"""The body of a request, read as JSON."""

from __future__ import annotations

import json
from typing import Any

from flask import Request
from werkzeug.exceptions import (
    BadRequest,
    HTTPException,
    RequestEntityTooLarge,
    UnsupportedMediaType,
)

from reelsense.server.middleware.problems import FieldError, InvalidRequestError, NotJsonError

_MOST_FIELDS = 100
"""Each of a hundred thousand would get an error of its own, which takes seconds."""


class JsonRequest(Request):
    """A request whose body is a JSON object, or is refused with the reason."""

    def get_json(self, *_: object, **__: object) -> Any:
        """Return the object in the body.

        Raises UnsupportedMediaType, RequestEntityTooLarge, NotJsonError, and InvalidRequestError
        if it is JSON of another kind.
        """
        # Triton's client does not say what it sends.
        unsaid = not self.content_type and self.blueprint == "open_inference"
        if not (self.is_json or unsaid):
            raise UnsupportedMediaType("send JSON, with the header Content-Type: application/json")
        try:
            body = json.loads(self._read(), parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise NotJsonError(f"the body is not JSON: {error}") from error
        if not isinstance(body, dict):
            detail = "the body should be an object"
            raise InvalidRequestError([FieldError(pointer="#", code="wrong-type", detail=detail)])
        if len(body) > _MOST_FIELDS:
            detail = f"the body should have at most {_MOST_FIELDS} fields, not {len(body):,}"
            raise InvalidRequestError([FieldError(pointer="#", code="too-many", detail=detail)])
        return body

    def _read(self) -> bytes:
        try:
            raw = self.get_data()
        except HTTPException:
            raise
        except Exception as error:  # each web server has its own for a body it cannot make out
            raise BadRequest(
                "the body cannot be read: it is not what its headers announce"
            ) from error
        # Without a Content-Length, werkzeug stops reading at the limit and says nothing.
        most = self.max_content_length
        if self.content_length is None and most is not None and len(raw) >= most:
            raise RequestEntityTooLarge
        return raw


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
