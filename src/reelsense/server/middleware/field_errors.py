"""Invalid fields of requests: from the errors of pydantic to those in a problem response."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from typing import Any, NoReturn, get_type_hints

from flask import current_app, request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from reelsense.errors import InputError
from reelsense.server.middleware.problem_types import FIELD_CODES

# Tags of the alternatives of a union. They are not part of the pointer to a field.
A_TEXT, A_LIST, A_FLAT_BATCH, A_BATCH = _TAGS = ("a text", "a list", "a flat batch", "a batch")

_MAX_ERRORS = 100  # invalid fields listed in a response; a request may have a million


class ResponseModel(BaseModel):
    """Base class of response bodies. `model_validate` also accepts domain objects."""

    model_config = ConfigDict(frozen=True, extra="forbid", from_attributes=True)


def optional(description: str) -> Any:
    """Return a field that may be absent but is never null."""
    return Field(default=None, description=description, json_schema_extra=_without_default)


def _without_default(schema: dict[str, Any]) -> None:
    schema.pop("default")


class FieldError(ResponseModel):
    """An invalid field of a request."""

    pointer: str = Field(
        description="Its location: #/texts/3 in the body (RFC 6901), ?sentence in the query, "
        "Idempotency-Key in the headers."
    )
    code: str
    detail: str


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
    detail = re.sub("^(Input|List|String) |^Value error, ", "", error["msg"])
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
