"""The accuracy on current texts, estimated without labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reelsense.drift.profile import Rows
from reelsense.report.results import Z


@dataclass(frozen=True, slots=True)
class EstimatedAccuracy:
    """Confidence-based performance estimation (CBPE), without true labels.

    A calibrated probability is the share of texts like this one on which the prediction is correct.
    The estimate is their mean, with a 95% interval for the accuracy on these texts. It holds as
    long as the calibration does, which drift can invalidate.
    """

    value: float
    low: float
    high: float
    precision: dict[str, float]
    """Estimated share of correct predictions, by predicted label."""
    drift: str
    """The alert level: the estimate can be trusted if it is "none"."""

    def __str__(self) -> str:
        trust = "" if self.drift == "none" else f"; unreliable because of drift ({self.drift})"
        return f"{self.value:.1%} ({self.low:.1%} to {self.high:.1%}){trust}"


def estimated_accuracy(labels: Sequence[str], rows: Rows, drift: str) -> EstimatedAccuracy:
    """Return the estimated accuracy on the texts of `rows`, given the alert level."""
    confidence = rows["confidence"].astype(np.float64)
    value = float(confidence.mean())
    margin = Z * math.sqrt((confidence * (1 - confidence)).sum()) / len(rows)
    precision = {
        labels[label]: float(confidence[rows["label"] == label].mean())
        for label in np.unique(rows["label"]).tolist()
    }
    return EstimatedAccuracy(
        value, max(0.0, value - margin), min(1.0, value + margin), precision, drift
    )
