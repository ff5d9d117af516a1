"""The original Flask API: Flask's development server, one text at a time.

Behaves like github.com/VikasSingh-DS/Movies-Reviews-Bert-Sentiment-Flask-API with our weights on a
CPU: every text is padded to 512 tokens, and gradients are recorded.
"""

from __future__ import annotations

import argparse
import time

import flask
from transformers import AutoTokenizer, BertForSequenceClassification


def create_app(checkpoint: str) -> flask.Flask:
    """Build the application around `checkpoint`."""
    app = flask.Flask(__name__)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = BertForSequenceClassification.from_pretrained(checkpoint).eval()

    @app.get("/predict")
    def predict() -> flask.Response:
        sentence = flask.request.args["sentence"]
        start = time.time()
        inputs = tokenizer(
            " ".join(sentence.split()),
            padding="max_length",
            truncation=True,
            max_length=512,
            return_tensors="pt",
        )
        probabilities = model(**inputs).logits.softmax(dim=-1).detach().numpy()[0]
        return flask.jsonify(
            response={
                "positive": str(probabilities[1]),
                "negative": str(probabilities[0]),
                "sentence": sentence,
                "time_taken": str(time.time() - start),
            }
        )

    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    create_app(arguments.checkpoint).run(port=arguments.port)
