"""Routes for clients of the classification API of vLLM.

Unknown fields of requests are ignored, as in `compat`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Literal, TypeVar

from flask import Response
from flask_openapi3 import APIBlueprint, Tag
from pydantic import ConfigDict, Discriminator, Field
from pydantic import Tag as UnionTag

from reelsense.server.api.compat import answer_one_or_all, scores_of
from reelsense.server.api.constraints import Text, TextList
from reelsense.server.api.openapi import json_response, json_responses
from reelsense.server.api.schemas import RequestModel
from reelsense.server.middleware.field_errors import A_LIST, A_TEXT, ResponseModel
from reelsense.server.middleware.load_shedding import limit_concurrency
from reelsense.server.middleware.request_context import request_id
from reelsense.server.model_holder import classifier, select_model
from reelsense.server.state import get_state

blueprint = APIBlueprint("vllm", __name__)

_View = TypeVar("_View", bound=Callable[..., Response])

_VLLM = Tag(name="vLLM", description="For clients and gateways that use its classification API.")


class ClassifyRequest(RequestModel):
    """Request for classification, as sent by vLLM clients."""

    model_config = ConfigDict(
        extra="ignore", json_schema_extra={"examples": [{"input": ["A joy.", "A bore."]}]}
    )

    model: str | None = Field(
        default=None,
        description="Name of a model (GET /v1/models). Other names select the default model; the "
        "response names the one that was used.",
    )
    input: Annotated[
        Annotated[Text, UnionTag(A_TEXT)] | TextList,
        Discriminator(lambda value: A_LIST if isinstance(value, list) else A_TEXT),
    ] = Field(description="A text or several. Token ids are not supported.")
    use_activation: bool | None = Field(
        default=None, description="False: return logits in probs instead of probabilities."
    )


class ClassifyData(ResponseModel):
    """The classification of one text."""

    index: int = Field(description="The position of the text in input.")
    label: str = Field(description="The most probable label.")
    probs: list[float] = Field(description="The probabilities, in the order of the model's labels.")
    num_classes: int


class ClassifyUsage(ResponseModel):
    """Numbers of tokens, without special tokens."""

    prompt_tokens: int
    total_tokens: int
    completion_tokens: int = Field(description="Always 0.")


class ClassifyResponse(ResponseModel):
    """Response of vLLM's classification API."""

    id: str
    object: Literal["list"]
    created: int = Field(description="Seconds since 1970.")
    model: str
    data: list[ClassifyData]
    usage: ClassifyUsage


def _classify_route(rule: str, name: str) -> Callable[[_View], _View]:
    """Register a view for the POST requests to `rule`."""
    return blueprint.post(
        rule,
        tags=[_VLLM],
        endpoint=name,
        operation_id=name,
        responses=json_responses(ClassifyResponse, 400, 413, 415, 422, 503, 504),
    )


@_classify_route("/classify", "classify_root")
@_classify_route("/v1/classify", "classify")
@limit_concurrency
def classify(body: ClassifyRequest) -> Response:
    """Classify texts, compatible with the classification API of vLLM."""
    if body.model in get_state().models.holders:
        select_model(body.model)
    predictions = answer_one_or_all(body.input, "#/input")
    function = "none" if body.use_activation is False else "softmax"
    tokens = sum(prediction.tokens.total for prediction in predictions)
    return json_response(
        ClassifyResponse(
            id=f"classify-{request_id()}",
            object="list",
            created=int(time.time()),
            model=classifier().manifest.name,
            data=[
                ClassifyData(
                    index=index,
                    label=prediction.label,
                    probs=scores_of(prediction, function),
                    num_classes=len(prediction.probabilities),
                )
                for index, prediction in enumerate(predictions)
            ],
            usage=ClassifyUsage(prompt_tokens=tokens, total_tokens=tokens, completion_tokens=0),
        )
    )
