"""The comparison with the shadow model. On servers with keys, it requires an admin key."""

from __future__ import annotations

from flask import Response
from flask_openapi3 import APIBlueprint, Tag
from pydantic import Field

from reelsense.server.api.openapi import json_response, json_responses
from reelsense.server.api.schemas import ModelSchema
from reelsense.server.middleware.field_errors import ResponseModel
from reelsense.server.state import get_state

blueprint = APIBlueprint("shadow", __name__, url_prefix="/v1", abp_tags=[Tag(name="reelsense")])


class ShadowExample(ResponseModel):
    """A text on which the models disagree."""

    text: str = Field(description="Its beginning.")
    label: str = Field(description="The label in the answer of the server.")
    score: float = Field(ge=0, le=1, description="Its probability.")
    shadow_label: str
    shadow_score: float = Field(ge=0, le=1)


class ShadowResponse(ResponseModel):
    """Counts of this process since the shadow model was loaded."""

    model: ModelSchema | None = Field(description="The shadow model; null: none is loaded.")
    share: float = Field(description="Share of the texts that it scores.")
    agreed: int
    disagreed: int
    shed: int = Field(description="Texts that were not scored, in favour of requests.")
    failed: int = Field(description="Texts that it could not score.")
    agreement: float | None = Field(description="agreed / (agreed + disagreed).")
    error: str | None = Field(description="Why it cannot be used.")
    examples: list[ShadowExample] = Field(description="The last disagreements.")


@blueprint.get("/shadow", operation_id="shadow", responses=json_responses(ShadowResponse))
def shadow() -> Response:
    """Return how often the shadow model agrees, and examples of texts on which it does not."""
    return json_response(ShadowResponse.model_validate(get_state().shadow.report()))
