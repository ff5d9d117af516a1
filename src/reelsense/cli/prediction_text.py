"""A prediction as one line of text."""

from __future__ import annotations

import math

from reelsense.prediction import UNSURE, Prediction


def as_line(prediction: Prediction) -> str:
    """Return the verdict, its probability and the stars of a prediction."""
    # Rounded down: only certainty is shown as 100 %.
    score = f"{math.floor(prediction.score * 1000) / 10:.1f}%"
    line = f"{prediction.label}  {score}"
    if prediction.verdict == UNSURE:
        line = f"{UNSURE}  ({prediction.label} {score})"
    return line if prediction.stars is None else f"{line}  {prediction.stars:.1f} of 10 stars"
