"""Base classes of request and response bodies, shared by problem documents and interfaces."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

A_TEXT, A_LIST, A_BATCH = TAGS = ("a text", "a list", "a batch")
"""Tags of the alternatives of a union. They are not part of the pointer to a field."""


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
