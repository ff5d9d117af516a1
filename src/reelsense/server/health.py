"""Is the process alive, and can it answer? For whoever watches over it."""

from __future__ import annotations

from flask import Response
from flask_openapi3 import APIBlueprint, Tag

from reelsense.server.contract import answers, json_of
from reelsense.server.schemas import Model, Told
from reelsense.server.served import served

blueprint = APIBlueprint("health", __name__, abp_tags=[Tag(name="health")])


class Alive(Told):
    """The process is alive."""

    status: str


class ReadyModel(Alive):
    """The model has answered."""

    model: Model


@blueprint.get("/healthz", operation_id="alive", responses=answers(Alive))
def healthz() -> Response:
    """Answer as long as the process is alive."""
    return json_of(Alive(status="ok"))


@blueprint.get("/readyz", operation_id="ready", responses=answers(ReadyModel, 503))
def readyz() -> Response:
    """Answer once the model is ready; 503 until then."""
    manifest = served().classifier.manifest
    model = Model(name=manifest.name, version=manifest.version)
    return json_of(ReadyModel(status="ready", model=model))
