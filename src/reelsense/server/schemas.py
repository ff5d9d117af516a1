"""Requests into texts, predictions into JSON. Every fault of a request is found and named here."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from flask import Request
from werkzeug.exceptions import (
    BadRequest,
    HTTPException,
    RequestEntityTooLarge,
    UnsupportedMediaType,
)

from reelsense.bundle import Manifest
from reelsense.errors import InputError
from reelsense.inference.calibration import least_score
from reelsense.prediction import Prediction

MOST_TEXTS = 256
"""The most texts in one request."""

MOST_CHARACTERS = 200_000
"""The longest text: a tenth of it is longer than any review of the Large Movie Review Dataset."""


@dataclass(frozen=True, slots=True)
class PredictRequest:
    """What a client asks of /v1/predict."""

    texts: list[str]
    risk: float | None
    """None: the model's default."""


def read_request(request: Request) -> PredictRequest:
    """Read {"text": "..."} or {"texts": ["...", ...]}, with "risk" where the client names one.

    Raises UnsupportedMediaType, RequestEntityTooLarge or BadRequest if the body is no JSON at
    all, InputError if it is JSON of another kind.
    """
    if not request.is_json:
        raise UnsupportedMediaType("send JSON, with the header Content-Type: application/json")
    try:
        body = json.loads(_read_body(request))
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise InputError('send an object: {"text": "..."} or {"texts": ["...", ...]}')
    return PredictRequest(_texts(body), _risk(body.get("risk")))


def _texts(body: dict[str, Any]) -> list[str]:
    if ("text" in body) == ("texts" in body):
        raise InputError('send one of "text" and "texts"')
    if "text" in body:
        return [_text(body["text"], '"text"')]
    texts = body["texts"]
    if not isinstance(texts, list):
        raise InputError(f'"texts" must be a list, not {_kind(texts)}')
    if not 1 <= len(texts) <= MOST_TEXTS:
        raise InputError(f'"texts" must hold 1 to {MOST_TEXTS} texts, not {len(texts)}')
    return [_text(text, f'"texts"[{n}]') for n, text in enumerate(texts)]


def _read_body(request: Request) -> bytes:
    try:
        raw = request.get_data()
    except HTTPException:
        raise
    except Exception as error:  # each web server has its own for a body it cannot make out
        raise BadRequest("the body cannot be read: it is not what its headers announce") from error
    # Without a Content-Length, werkzeug stops reading at the limit and says nothing.
    most = request.max_content_length
    if request.content_length is None and most is not None and len(raw) >= most:
        raise RequestEntityTooLarge
    return raw


def _risk(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        raise InputError('"risk" must be a number above 0 and below 1, as 0.02 for 2 %')
    return float(value)


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise InputError(f"{name} must be a string, not {_kind(value)}")
    if not value.strip():
        raise InputError(f"{name} is blank")
    if len(value) > MOST_CHARACTERS:
        raise InputError(f"{name} is longer than {MOST_CHARACTERS:,} characters")
    return value


def _kind(value: object) -> str:
    """The name of a JSON value's type."""
    names: dict[type, str] = {
        dict: "an object",
        list: "a list",
        str: "a string",
        bool: "a boolean",
        int: "a number",
        float: "a number",
        type(None): "null",
    }
    return names[type(value)]


def answer(manifest: Manifest, risk: float | None, predictions: list[Prediction]) -> dict[str, Any]:
    """Return the body of an answer to a request that named `risk`.

    "risk" in it is the one that was kept to, "threshold" the least score of a decided answer: null
    where no threshold keeps to that risk, so that every verdict is "unsure".
    """
    control = manifest.risk_control
    default = control.default_risk if control else None
    return {
        "model": {"name": manifest.name, "version": manifest.version},
        "risk": default if risk is None else risk,
        "threshold": least_score(manifest, risk),
        "predictions": [_prediction(prediction) for prediction in predictions],
    }


def _prediction(prediction: Prediction) -> dict[str, Any]:
    """Two keys for negative and positive; a model of other labels has a table of them."""
    probabilities = prediction.probabilities
    binary = set(probabilities) == {"positive", "negative"}
    return {
        "verdict": prediction.verdict,
        "label": prediction.label,
        "score": prediction.score,
        **(
            {"positive": prediction.positive, "negative": prediction.negative}
            if binary
            else {"probabilities": probabilities}
        ),
        **({} if prediction.stars is None else {"stars": prediction.stars}),
        "tokens": {"total": prediction.tokens.total, "scored": prediction.tokens.scored},
    }
