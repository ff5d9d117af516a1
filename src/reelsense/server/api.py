"""The JSON interface, /v1."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, request

from reelsense.server import schemas
from reelsense.server.model import served_classifier

blueprint = Blueprint("api", __name__, url_prefix="/v1")


@blueprint.post("/predict")
def predict() -> Response:
    """Answer {"text": ...} or {"texts": [...]} with a prediction for each, in order."""
    asked = schemas.read_request(request)
    classifier = served_classifier()
    predictions = classifier.predict(asked.texts, risk=asked.risk)
    return jsonify(schemas.answer(classifier.manifest, asked.risk, predictions))
