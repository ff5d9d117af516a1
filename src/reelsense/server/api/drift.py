"""The drift of the latest texts. It contains no texts, only shares and means of at least 30."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from flask import Response
from flask_openapi3 import APIBlueprint, Tag
from pydantic import Field

from reelsense.errors import StoreError
from reelsense.feedback.queries import measured_accuracy
from reelsense.report.results import Share
from reelsense.server.api.feedback import ShareSchema
from reelsense.server.api.openapi import json_response, json_responses
from reelsense.server.api.schemas import ModelSchema
from reelsense.server.middleware.field_errors import ResponseModel
from reelsense.server.model_holder import classifier
from reelsense.server.state import get_state

blueprint = APIBlueprint("drift", __name__, url_prefix="/v1", abp_tags=[Tag(name="reelsense")])


Alert = Literal["none", "warning", "alarm"]


class MeasureSchema(ResponseModel):
    """How one property of the latest texts differs from the reference profile."""

    name: str
    test: str = Field(description="The two-sample test.")
    reference: float | dict[str, float] = Field(
        description="A mean (for length the median, for classifier an AUC), or shares by category."
    )
    current: float | dict[str, float] = Field(description="The same of the latest texts.")
    effect: float = Field(ge=0, le=1, description="Estimated total variation distance.")
    p_value: float = Field(ge=0, le=1, description="Adjusted for the number of measures.")
    alert: Alert


class EstimatedAccuracySchema(ResponseModel):
    """The accuracy on the latest texts, estimated from calibrated probabilities (CBPE)."""

    value: float = Field(ge=0, le=1)
    low: float = Field(description="Of the 95 % interval, as long as the calibration holds.")
    high: float
    precision: dict[str, float] = Field(description="The estimate by predicted label.")
    drift: Alert = Field(description="The alert level: the estimate can be trusted if it is none.")


class DriftResponse(ResponseModel):
    """How the latest texts of all workers differ from the validation texts of the model."""

    model: ModelSchema
    alert: Alert
    reason: str
    texts: int
    reference_texts: int
    since: datetime | None = Field(description="Time of the oldest of the texts.")
    measures: list[MeasureSchema] = Field(description="Empty with fewer than 30 texts.")
    auc: float | None = Field(
        description="Of a classifier that tells the latest texts from the validation texts: 0.5 if "
        "they are alike."
    )
    estimated_accuracy: EstimatedAccuracySchema | None
    measured_accuracy: ShareSchema | None = Field(
        description="Share of correct predictions of this version, measured on the random items of "
        "the review queue. null: none was reviewed."
    )


@blueprint.get("/drift", operation_id="drift", responses=json_responses(DriftResponse, 503))
def drift() -> Response:
    """Return how the latest texts differ from the validation texts of the model."""
    return json_response(DriftResponse.model_validate(current_drift()))


def current_drift() -> dict[str, Any]:
    """Return the fields of DriftResponse."""
    manifest, state = classifier().manifest, get_state()
    report = state.drift.report()
    assert report is not None  # noqa: S101  # nosec B101  # a model is loaded
    fields = {name: getattr(report, name) for name in report.__slots__}
    since = None if report.since is None else datetime.fromtimestamp(report.since, UTC)
    accuracy = _measured_accuracy(manifest.version)
    return fields | {"model": manifest, "since": since, "measured_accuracy": accuracy}


def _measured_accuracy(version: str) -> Share | None:
    state = get_state()
    if state.keep_policy.keeps_nothing:  # feedback refers to no prediction
        return None
    try:
        return measured_accuracy(state.jobs_worker.jobs.database, version)
    except StoreError:  # a database that is down does not hide the drift
        return None
