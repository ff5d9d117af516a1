"""Is the process alive, and can it answer? For whoever watches over it."""

from __future__ import annotations

from flask import Response
from flask_openapi3 import APIBlueprint, Tag

from reelsense.errors import NotReadyError
from reelsense.server.api.openapi import answers, json_of
from reelsense.server.api.schemas import ModelSchema
from reelsense.server.middleware.wire_models import ResponseModel
from reelsense.server.model_holder import classifier, get_model_holder

blueprint = APIBlueprint("health", __name__, abp_tags=[Tag(name="health")])


class Alive(ResponseModel):
    """The process is alive."""

    status: str


class ReadyModel(Alive):
    """The model has answered."""

    model: ModelSchema


@blueprint.get("/healthz", operation_id="alive", responses=answers(Alive, keys=False))
def healthz() -> Response:
    """Answer as long as the process is alive."""
    return json_of(Alive(status="ok"))


@blueprint.get("/startedz", operation_id="started", responses=answers(Alive, 503, keys=False))
def startedz() -> Response:
    """Answer once a model has been ready for the first time; 503 until then."""
    classifier()
    return json_of(Alive(status="started"))


@blueprint.get("/readyz", operation_id="ready", responses=answers(ReadyModel, 503, keys=False))
def readyz() -> Response:
    """Answer while requests are best sent here; 503, with the reason, while not."""
    if get_model_holder().draining:
        raise NotReadyError("the server is about to end, and answers what it has accepted")
    manifest = classifier().manifest
    model = ModelSchema(name=manifest.name, version=manifest.version)
    return json_of(ReadyModel(status="ready", model=model))
