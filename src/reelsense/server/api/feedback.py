"""Routes of /v1/feedback: corrections of predictions, and labels for texts."""

from __future__ import annotations

import re
import time
from datetime import datetime
from typing import Annotated, Any

from flask import Response, g, request
from flask_openapi3 import APIBlueprint, Tag
from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from reelsense.errors import FeedbackError, NoPredictionError
from reelsense.feedback import queries
from reelsense.feedback.queue import SOURCES
from reelsense.feedback.records import ID_PATTERN, Feedback, NewFeedback, seconds_from
from reelsense.server.api.constraints import WHOLE, Text
from reelsense.server.api.jobs import QueryModel
from reelsense.server.api.openapi import json_response, json_responses
from reelsense.server.api.schemas import RequestModel
from reelsense.server.middleware.field_errors import (
    FieldError,
    InvalidRequestError,
    ResponseModel,
    optional,
)
from reelsense.server.middleware.request_context import call_context
from reelsense.server.model_holder import classifier, select_model
from reelsense.server.state import get_state

blueprint = APIBlueprint("feedback", __name__, url_prefix="/v1", abp_tags=[Tag(name="feedback")])

# Pauses, in seconds, before it is checked again whether another process has stored a prediction.
_PAUSES = (0.1, 0.3, 0.6)

_KEY = "Idempotency-Key"
_KEY_PATTERN = "[!-~]{1,255}"

# Not a model of headers: flask-openapi3 would generate its schema again for every request.
_KEY_PARAMETER: dict[str, Any] = {
    "parameters": [
        {
            "name": _KEY,
            "in": "header",
            "required": False,
            "description": "A new value for each feedback, such as a UUID. A retry with the same "
            "value returns the feedback that is stored already.",
            "schema": {"type": "string", "pattern": f"^{_KEY_PATTERN}$"},
        }
    ]
}

_Id = Annotated[str, Field(pattern=f"^{ID_PATTERN}$")]
_Comment = Annotated[str, Field(max_length=2000)]
_TIME_SCHEMA = {"type": "string", "format": "date-time"}
_Seconds = Annotated[float, BeforeValidator(seconds_from), WithJsonSchema(_TIME_SCHEMA)]


def _not_of_queue(source: str) -> str:
    # The measured accuracy must contain random items only.
    if source in SOURCES:
        raise PydanticCustomError("wrong-value", "is reserved for the review queue: send another")
    return source


_Source = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_not_of_queue)]


def _required_fields(schema: dict[str, Any]) -> None:
    schema["oneOf"] = [{"required": ["prediction_id"]}, {"required": ["text"]}]
    schema["anyOf"] = [{"required": ["label"]}, {"required": ["stars"]}]
    schema["examples"] = [{"text": "A bore.", "label": "negative", "stars": 2}]


class FeedbackRequest(RequestModel):
    """The correct label, the correct stars or both, for a stored prediction or a text."""

    model_config = ConfigDict(json_schema_extra=_required_fields)

    prediction_id: _Id = optional("The prediction_id of an answer of POST /v1/predict.")
    text: Text = optional("The text, if no prediction of it is stored.")
    label: str = optional("The correct label: one of the labels of the model.")
    stars: Annotated[float, Field(ge=1, le=10)] = optional("The correct star rating.")
    comment: _Comment = optional("A note, at most 2,000 characters.")
    source: _Source = Field(
        default="api",
        description="Where the feedback comes from. Not one of the review queue, such as "
        "queue-random.",
    )
    model: str | None = Field(
        default=None,
        description="Name of the model, for servers with several (GET /v1/models). Default: the "
        "first one.",
    )

    @model_validator(mode="after")
    def _check_fields(self) -> FeedbackRequest:
        sent = self.model_fields_set
        if ("prediction_id" in sent) == ("text" in sent):
            raise PydanticCustomError("one-of", 'Send one of "prediction_id" and "text"')
        if not sent & {"label", "stars"}:
            raise PydanticCustomError("one-of", 'Send "label", "stars" or both')
        return self


class PredictedSchema(ResponseModel):
    """The stored prediction that feedback refers to."""

    model: str
    version: str
    label: str
    score: float
    verdict: str
    stars: float | None


class FeedbackSchema(ResponseModel):
    """Stored feedback."""

    id: str
    created: datetime
    prediction_id: str | None
    text: str | None = Field(description="null: the server does not store texts (--keep-texts).")
    text_hash: str = Field(
        description="SHA-256 of the text in lower case, with single spaces. Equal for equal texts."
    )
    label: str | None
    stars: float | None
    comment: str | None
    source: str
    key: str | None = Field(description="Name of the API key that sent it. null: no keys.")
    predicted: PredictedSchema | None = Field(
        description="null: it does not refer to a prediction, or the prediction is deleted."
    )


class FeedbackListQuery(QueryModel):
    """Filter and page of the feedback to list."""

    label: str | None = Field(default=None, description="The correct label.")
    source: str | None = None
    version: str | None = Field(
        default=None, description="Version of the model that made the prediction."
    )
    since: _Seconds | None = Field(default=None, description="Only feedback from this time on.")
    before: _Seconds | None = Field(default=None, description="Only feedback before this time.")
    differs: bool = Field(
        default=False, description="Only feedback whose label differs from the prediction."
    )
    offset: Annotated[int, Field(ge=0, le=1_000_000_000), WHOLE] = 0
    limit: Annotated[int, Field(ge=0, le=500), WHOLE] = 50


class FeedbackListSchema(ResponseModel):
    """One page of feedback, latest first."""

    total: int = Field(description="Number of matching entries on all pages.")
    feedback: list[FeedbackSchema]


class ShareSchema(ResponseModel):
    """A share with its 95 % confidence interval (Wilson)."""

    count: int
    total: int
    value: float
    low: float
    high: float


class MeasuredSchema(ResponseModel):
    """The share of correct labels, measured on the random items of a review queue only."""

    source: str = Field(description="queue-random: predictions; job-queue-random: rows of jobs.")
    model: str
    version: str
    accuracy: ShareSchema


class StatsSchema(ResponseModel):
    """Counts of the stored feedback and predictions."""

    total: int = Field(description="Feedback.")
    with_text: int
    labels: dict[str, int]
    sources: dict[str, int]
    compared: int = Field(description="Feedback with a label for a stored prediction.")
    correct: int = Field(description="Of these, how many labels are those of the prediction.")
    predictions: int
    measured: list[MeasuredSchema] = Field(description="For each version; empty: not measured.")


@blueprint.post(
    "/feedback",
    operation_id="create_feedback",
    responses=json_responses(FeedbackSchema, 400, 404, 413, 415, 422, 503, 504, 507, status=201),
    openapi_extensions=_KEY_PARAMETER,
)
def create(body: FeedbackRequest) -> Response:
    """Store feedback on a prediction or a text. The response means that it is durable.

    On a server with keys, the key needs the permission feedback.
    """
    if body.label is not None:
        select_model(body.model)
        check_label(body.label)
    fields = body.model_dump(exclude_unset=True, exclude={"model"})
    item = NewFeedback(**fields, key=key_name(), idempotency_key=_idempotency_key())
    response = json_response(FeedbackSchema.model_validate(store(item)))
    response.status_code = 201
    return response


def _idempotency_key() -> str | None:
    key = request.headers.get(_KEY)
    if key is not None and not re.fullmatch(_KEY_PATTERN, key):
        detail = "should be 1 to 255 printable ASCII characters, without spaces"
        raise InvalidRequestError([FieldError(pointer=_KEY, code="wrong-value", detail=detail)])
    return key


def check_label(label: str) -> None:
    """Raise InvalidRequestError if `label` is not one of the labels of the model."""
    labels = classifier(call_context().remaining or 0).manifest.labels
    if label not in labels:
        detail = f"should be one of {', '.join(labels)}, not {label[:100]!r}"
        field = FieldError(pointer="#/label", code="unknown-label", detail=detail)
        raise InvalidRequestError([field])


def key_name() -> str | None:
    """Return the name of the API key of the current request, or None."""
    return g.key.name if "key" in g else None


def store(item: NewFeedback) -> Feedback:
    """Store feedback durably.

    Raises NoPredictionError, InvalidRequestError, DeadlineError or StoreError.
    """
    state = get_state()
    # With several processes, another one may still be writing the prediction.
    pauses = [] if state.keep_policy.keeps_nothing else [*_PAUSES]
    while True:
        try:
            stored = state.feedback_writer.add(item, call_context().remaining)
        except NoPredictionError:
            if not pauses:
                raise
            time.sleep(pauses.pop(0))
        except FeedbackError as error:
            field = FieldError(pointer=_KEY, code=error.code, detail=str(error))
            raise InvalidRequestError([field]) from error
        else:
            state.metrics.record_feedback()
            return stored


@blueprint.get(
    "/feedback",
    operation_id="list_feedback",
    responses=json_responses(FeedbackListSchema, 400, 507),
)
def listed(query: FeedbackListQuery) -> Response:
    """List feedback, latest first. On a server with keys, this requires an admin key."""
    database = get_state().jobs_worker.jobs.database
    found = queries.page(database, queries.FeedbackQuery(**query.model_dump()))
    return json_response(FeedbackListSchema.model_validate(found))


@blueprint.get(
    "/feedback/stats", operation_id="feedback_stats", responses=json_responses(StatsSchema, 507)
)
def stats() -> Response:
    """Count feedback, and measure the accuracy. With keys, this requires an admin key."""
    database = get_state().jobs_worker.jobs.database
    return json_response(StatsSchema.model_validate(queries.stats(database)))
