"""A Hugging Face pipeline behind Flask, for gunicorn: `gunicorn "pipeline_flask:create_app(PATH)"`.

Each worker process answers one request at a time on one core.
"""

from __future__ import annotations

import flask
import torch
from transformers import pipeline


def create_app(checkpoint: str) -> flask.Flask:
    """Build the application around `checkpoint`."""
    torch.set_num_threads(1)
    app = flask.Flask(__name__)
    classify = pipeline("text-classification", checkpoint, truncation=True, max_length=512)

    @app.post("/predict")
    def predict() -> flask.Response:
        return flask.jsonify(classify(flask.request.get_json()["text"])[0])

    return app
