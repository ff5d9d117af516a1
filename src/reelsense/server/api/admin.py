"""Metrics and model reload. On servers with keys, they require an admin key."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from reelsense.server.state import get_state

blueprint = Blueprint("admin", __name__)


@blueprint.get("/metrics")
def prometheus_metrics() -> Response:
    """Return the metrics in the Prometheus text format."""
    state = get_state()
    state.metrics.record_drift(state.drift.report())
    return Response(state.metrics.render(), content_type="text/plain; version=0.0.4; charset=utf-8")


@blueprint.post("/admin/reload")
def reload() -> tuple[Response, int]:
    """Reload the models and the keys, as SIGHUP does."""
    get_state().models.reload_everywhere()
    return jsonify(status="reloading the models and the keys; the log reports the result"), 202
