"""Predictions to store."""

from typing import Any

from reelsense.feedback.records import KeptPrediction
from reelsense.prediction import Prediction, TokenCounts


def prediction(label: str = "positive", score: float = 0.9, verdict: str = "") -> Prediction:
    other = "negative" if label == "positive" else "positive"
    return Prediction(
        label=label,
        score=score,
        probabilities={label: score, other: 1 - score},
        threshold=0.8,
        verdict=verdict or label,
        stars=8.5,
        tokens=TokenCounts(3, 3),
    )


def kept(text: str = "A joy.", label: str = "positive", **fields: Any) -> KeptPrediction:
    values: dict[str, Any] = {
        "text": text,
        "prediction": prediction(label),
        "model": "tiny",
        "version": "1",
        "share": 1.0,
    }
    return KeptPrediction(**values | fields)
