"""Parsing of JSON request bodies."""

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

from reelsense.server.middleware.field_errors import FieldError, InvalidRequestError
from reelsense.server.middleware.problems import NotJsonError

_MAX_FIELDS = 100  # reporting an error for each of 100,000 unknown fields would take seconds


class JsonRequest(Request):
    """A request whose body must be a JSON object."""

    def get_json(self, *_: object, **__: object) -> Any:
        """Return the body. Raises HTTPException or InvalidRequestError if it is not an object."""
        # Triton's client sends no content type.
        may_omit_type = not self.content_type and self.blueprint == "open_inference"
        if not (self.is_json or may_omit_type):
            raise UnsupportedMediaType("send JSON with the header Content-Type: application/json")
        try:
            body = json.loads(self._read(), parse_constant=_reject_constant)
        except (ValueError, RecursionError) as error:
            raise NotJsonError(f"the body is not JSON: {error}") from error
        if not isinstance(body, dict):
            detail = "the body should be an object"
            raise InvalidRequestError([FieldError(pointer="#", code="wrong-type", detail=detail)])
        if len(body) > _MAX_FIELDS:
            detail = f"the body should have at most {_MAX_FIELDS} fields, not {len(body):,}"
            raise InvalidRequestError([FieldError(pointer="#", code="too-many", detail=detail)])
        return body

    def _read(self) -> bytes:
        try:
            raw = self.get_data()
        except HTTPException:
            raise
        except Exception as error:  # every web server raises its own type for a malformed body
            raise BadRequest("the body does not match its headers and cannot be read") from error
        # Without a Content-Length, werkzeug silently stops reading at the limit.
        limit = self.max_content_length
        if self.content_length is None and limit is not None and len(raw) >= limit:
            raise RequestEntityTooLarge
        return raw


def _reject_constant(name: str) -> None:
    raise ValueError(f"{name} is not valid JSON")
