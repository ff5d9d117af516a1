"""Is the process alive, and can it answer? For whoever watches over it."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from reelsense.server.model import served_classifier

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def healthz() -> Response:
    """The process is alive."""
    return jsonify(status="ok")


@blueprint.get("/readyz")
def readyz() -> Response:
    """The model has answered; 503 until then."""
    manifest = served_classifier().manifest
    return jsonify(status="ready", model={"name": manifest.name, "version": manifest.version})
