"""Annotated types that validate request fields and appear in the OpenAPI document.

Knows values and limits. Does not know routes or the running application: `LIMITS` is set from
outside.
"""

from __future__ import annotations

import re
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from reelsense.server.settings import Settings
from reelsense.text.clean import LONE_SURROGATE

LIMITS: ContextVar[Settings] = ContextVar("limits", default=Settings())  # noqa: B039  # frozen
"""The settings whose limits apply. Set for every request and for the OpenAPI document."""


class _CheckedFirst:
    """An annotation whose check runs before all other validators."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._check, handler(source))

    def _check(self, value: object) -> object:
        """Return `value`. Raises PydanticCustomError if it is invalid."""
        raise NotImplementedError


@dataclass(frozen=True)
class MaxLength(_CheckedFirst):
    """Limit the length of a string or list to a setting of the server.

    Runs before other validators, so that a list of a million invalid entries is one error.
    """

    setting: str
    """max_texts or max_characters."""

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        field = handler(schema)
        field["maxItems" if field["type"] == "array" else "maxLength"] = self._limit()
        return field

    def _check(self, value: object) -> object:
        if isinstance(value, str | list) and len(value) > (limit := self._limit()):
            raise PydanticCustomError(
                "too-long" if isinstance(value, str) else "too-many",
                "Input should have at most {limit} {unit}, not {length}",
                {
                    "limit": f"{limit:,}",
                    "unit": "characters" if isinstance(value, str) else "entries",
                    "length": f"{len(value):,}",
                },
            )
        return value

    def _limit(self) -> int:
        limit: int = getattr(LIMITS.get(), self.setting)
        return limit


class NonBlank(_CheckedFirst):
    """Reject strings that are empty or only white space."""

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return handler(schema) | {"minLength": 1, "pattern": r"\S"}

    def _check(self, value: object) -> object:
        if isinstance(value, str) and not value.strip():
            raise PydanticCustomError("blank", "Input should not be blank")
        return value


class OneOf:
    """Reject strings outside of a short list."""

    def __init__(self, *words: str, pattern: str | None = None) -> None:
        """Allow `words`. A `pattern` also allows other spellings of them."""
        self._expected = f"{', '.join(words[:-1])} or {words[-1]}"
        self._pattern = pattern or f"^({'|'.join(words)})$"

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return handler(schema) | {"pattern": self._pattern}

    def _check(self, value: str) -> str:
        if not re.fullmatch(self._pattern, value):
            raise PydanticCustomError(
                "word", "Input should be {expected}", {"expected": self._expected}
            )
        return value


AnyText = Annotated[
    str,
    # JSON escapes can encode a lone surrogate, which UTF-8 cannot: some clients cut emoji in two.
    BeforeValidator(
        lambda value: LONE_SURROGATE.sub("\ufffd", value) if isinstance(value, str) else value
    ),
]
"""A string."""

Text = Annotated[AnyText, NonBlank(), MaxLength("max_characters")]
"""A string that can be scored."""

WHOLE = BeforeValidator(
    lambda value: int(value) if isinstance(value, float) and value.is_integer() else value
)
"""Accept integral floats such as 2.0, as JSON Schema does."""

Risk = Annotated[float, Field(gt=0, lt=1)]
"""A target error rate."""
