"""Base classes of what goes over the wire, shared by problems and by the interfaces."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

A_TEXT, A_LIST, A_BATCH = TAGS = ("a text", "a list", "a batch")
"""The choices where a field takes several; not part of its address."""


class ResponseModel(BaseModel):
    """The body of an answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def optional(description: str) -> Any:
    """Return a field that may be left out, but is never null."""
    return Field(default=None, description=description, json_schema_extra=_without_default)


def _without_default(schema: dict[str, Any]) -> None:
    schema.pop("default")


class TextFault(ResponseModel):
    """Why there is no answer for a text."""

    code: str = Field(description="blank, too-long or unreadable.")
    detail: str
