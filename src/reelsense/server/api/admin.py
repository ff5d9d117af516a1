"""For whoever runs the server: what it counts, and a new model. With keys, an admin key's."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from reelsense.server.middleware.metrics import metrics
from reelsense.server.model_holder import get_model_holder

blueprint = Blueprint("admin", __name__)


@blueprint.get("/metrics")
def counted() -> Response:
    """What Prometheus reads."""
    return Response(metrics().render(), content_type="text/plain; version=0.0.4; charset=utf-8")


@blueprint.post("/admin/reload")
def reload() -> tuple[Response, int]:
    """Load model and keys anew, as SIGHUP does."""
    get_model_holder().reload_everywhere()
    return jsonify(status="the model and the keys are being loaded anew; the log tells"), 202
