"""Annotated types that validate request fields and appear in the OpenAPI document.

Does not know routes or the running application: `LIMITS` is set from outside.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic import Tag as UnionTag
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from reelsense.server.middleware.field_errors import A_BATCH, A_FLAT_BATCH, A_LIST
from reelsense.server.settings import Settings
from reelsense.text.clean import printable

LIMITS: ContextVar[Settings] = ContextVar("limits", default=Settings())  # noqa: B039  # frozen
"""The settings whose limits apply. Set for every request and for the OpenAPI document."""


@dataclass(frozen=True)
class MaxLength:
    """Limit the length of a string or list to a setting of the server.

    Runs before other validators, so that a list of a million invalid entries is one error.
    """

    setting: str  # max_texts or max_characters

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._check, handler(source))

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


def _reject_blank(value: object) -> object:
    if isinstance(value, str) and not value.strip():
        raise PydanticCustomError("blank", "Input should not be blank")
    return value


def _reject_pair(value: object) -> object:
    if isinstance(value, list) and len(value) == 2 and all(isinstance(text, str) for text in value):
        raise PydanticCustomError(
            "pair",
            "Input should not be a pair: this model scores single texts. Send two "
            'texts as [["..."], ["..."]]',
        )
    return value


# JSON escapes can encode a lone surrogate, which UTF-8 cannot: some clients cut emoji in two.
_WITHOUT_SURROGATES = BeforeValidator(
    lambda value: printable(value) if isinstance(value, str) else value
)

AnyText = Annotated[str, _WITHOUT_SURROGATES]

Text = Annotated[
    str,
    Field(min_length=1, pattern=r"\S"),  # for the OpenAPI document; _reject_blank runs before
    _WITHOUT_SURROGATES,
    BeforeValidator(_reject_blank),
    MaxLength("max_characters"),
]
"""A string that can be scored."""

TextList = Annotated[list[Text], Field(min_length=1), MaxLength("max_texts"), UnionTag(A_LIST)]

SingleText = Annotated[list[Text], Field(min_length=1, max_length=1), BeforeValidator(_reject_pair)]
"""A list of one text."""

FlatBatch = Annotated[
    list[Text], Field(min_length=3), MaxLength("max_texts"), UnionTag(A_FLAT_BATCH)
]

TextBatch = Annotated[
    list[SingleText], Field(min_length=1), MaxLength("max_texts"), UnionTag(A_BATCH)
]


def is_batch(value: object) -> bool:
    """Return whether `value` should be validated as a list of lists."""
    return isinstance(value, list) and bool(value) and isinstance(value[0], list)


WHOLE = BeforeValidator(
    lambda value: int(value) if isinstance(value, float) and value.is_integer() else value
)
"""Accept integral floats such as 2.0, as JSON Schema does."""

Risk = Annotated[float, Field(gt=0, lt=1)]
"""A target error rate."""
