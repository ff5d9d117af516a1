"""Compare two models on the same reviews."""

from __future__ import annotations

from scipy.stats import binomtest

from reelsense.evaluation.metrics import classification_metrics
from reelsense.evaluation.predictions import LabelledPredictions
from reelsense.report.results import Comparison


def compare(this: LabelledPredictions, other: LabelledPredictions, name: str) -> Comparison:
    """Compare the predictions of two models with McNemar's exact test (1947).

    Args:
        this: Predictions of the evaluated model.
        other: Predictions of the other model for the same reviews.
        name: Name of the other model.
    """
    only_this = int((this.correct & ~other.correct).sum())
    only_other = int((other.correct & ~this.correct).sum())
    disagreements = only_this + only_other
    return Comparison(
        name=name,
        metrics=classification_metrics(other.targets, other.probabilities, other.labels),
        only_this_right=only_this,
        only_other_right=only_other,
        p_value=float(binomtest(only_this, disagreements).pvalue) if disagreements else 1.0,
    )
