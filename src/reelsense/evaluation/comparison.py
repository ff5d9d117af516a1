"""Whether one model is better than another on the same reviews, or only luckier."""

from __future__ import annotations

from dataclasses import dataclass

from scipy.stats import binomtest

from reelsense.evaluation.metrics import Metrics, measure
from reelsense.evaluation.predictions import LabelledPredictions


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models on the same reviews. McNemar (1947), exact."""

    name: str
    """Of the other model."""
    metrics: Metrics
    """Of the other model."""
    only_this_right: int
    only_other_right: int
    p_value: float
    """Two-sided: the chance of so uneven a split if both were as likely to be the right one."""


def compare(this: LabelledPredictions, other: LabelledPredictions, name: str) -> Comparison:
    """Compare what two models said of the same reviews; `name` is that of the `other`."""
    only_this = int((this.correct & ~other.correct).sum())
    only_other = int((other.correct & ~this.correct).sum())
    split = only_this + only_other
    return Comparison(
        name=name,
        metrics=measure(other.targets, other.probabilities, other.labels),
        only_this_right=only_this,
        only_other_right=only_other,
        p_value=float(binomtest(only_this, split).pvalue) if split else 1.0,
    )
