"""Routes that other clients already speak."""

from __future__ import annotations

import time

from flask import Blueprint, Response, jsonify, request
from werkzeug.exceptions import BadRequest, NotFound

from reelsense.server.model import served_classifier

blueprint = Blueprint("compat", __name__)


@blueprint.get("/predict")
def predict() -> Response:
    """Answer as VikasSingh-DS/Movies-Reviews-Bert-Sentiment-Flask-API does: all strings."""
    started = time.perf_counter()
    sentence = request.args.get("sentence", "")
    if not sentence.strip():
        raise BadRequest("the query parameter sentence is missing or blank")
    classifier = served_classifier()
    if set(classifier.labels) != {"positive", "negative"}:
        raise NotFound("this model has other labels than positive and negative: POST /v1/predict")
    prediction = classifier.predict([sentence])[0]
    return jsonify(
        response={
            "positive": str(prediction.positive),
            "negative": str(prediction.negative),
            "sentence": sentence,
            "time_taken": str(time.perf_counter() - started),
        }
    )
