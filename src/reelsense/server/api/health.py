"""Liveness, startup and readiness probes."""

from __future__ import annotations

from flask import Response
from flask_openapi3 import APIBlueprint, Tag

from reelsense.errors import NotReadyError
from reelsense.server.api.openapi import json_response, json_responses
from reelsense.server.api.schemas import ModelSchema
from reelsense.server.middleware.field_errors import ResponseModel
from reelsense.server.model_holder import classifier
from reelsense.server.state import get_state

blueprint = APIBlueprint("health", __name__, abp_tags=[Tag(name="health")])


class HealthResponse(ResponseModel):
    """The result of a probe."""

    status: str


class ReadyResponse(HealthResponse):
    """The server is ready."""

    model: ModelSchema


@blueprint.get(
    "/healthz", operation_id="alive", responses=json_responses(HealthResponse, keys=False)
)
def healthz() -> Response:
    """Liveness: 200 while the process runs."""
    return json_response(HealthResponse(status="ok"))


@blueprint.get(
    "/startedz", operation_id="started", responses=json_responses(HealthResponse, 503, keys=False)
)
def startedz() -> Response:
    """Startup: 200 once a model has been loaded, 503 before."""
    classifier()
    return json_response(HealthResponse(status="started"))


@blueprint.get(
    "/readyz", operation_id="ready", responses=json_responses(ReadyResponse, 503, keys=False)
)
def readyz() -> Response:
    """Readiness: 200 while the server accepts requests for all models, otherwise 503."""
    models = get_state().models
    if models.draining:
        raise NotReadyError(
            "the server is shutting down and completes the requests it has accepted",
            code="shutting-down",
        )
    for holder in models.holders.values():
        holder.classifier()  # raises NotReadyError
    model = ModelSchema.model_validate(classifier().manifest)
    return json_response(ReadyResponse(status="ready", model=model))
