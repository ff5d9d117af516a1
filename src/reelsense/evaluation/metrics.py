"""The figures that say how good a classifier is: accuracy and the rest, from probabilities.

Knows arrays of labels and probabilities; knows neither texts nor models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

ECE_BINS = 15
"""As Guo et al. (2017, "On Calibration of Modern Neural Networks") have it."""


@dataclass(frozen=True, slots=True)
class Share:
    """`count` of `total`, as a share from 0 to 1 with its 95 % confidence interval."""

    count: int
    total: int
    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if not self.total:
            return "none to count"
        return f"{self.value:.1%} ({self.low:.1%} to {self.high:.1%})"


def share(count: int, total: int) -> Share:
    """Return `count` of `total` with Wilson's interval; of nothing, the interval is 0 to 1."""
    if not total:
        return Share(0, 0, 0.0, 0.0, 1.0)
    interval = binomtest(count, total).proportion_ci(0.95, method="wilson")
    return Share(count, total, count / total, float(interval.low), float(interval.high))


@dataclass(frozen=True, slots=True)
class Metrics:
    """What was measured on `reviews` labelled reviews. Shares are from 0 to 1."""

    reviews: int
    labels: tuple[str, ...]
    accuracy: float
    macro_f1: float
    """The mean of F1, the harmonic mean of precision and recall, over the labels that occur."""
    auroc: float | None
    """Area under the ROC curve, the second label being the positive one; None for 3+ labels."""
    log_loss: float
    """Mean of -ln(probability of the true label), in nats."""
    ece: float
    """Expected calibration error: how far confidence is from accuracy, mean over 15 bins."""
    confusion: list[list[int]]
    """Rows: true label, columns: answer, both in the order of `labels`."""


def measure(
    targets: NDArray[np.int64], probabilities: NDArray[np.float64], labels: Sequence[str]
) -> Metrics:
    """Measure `probabilities` (n, labels) against the indices of the true labels `wanted` (n)."""
    answers = probabilities.argmax(axis=1)
    confusion = np.zeros((len(labels), len(labels)), dtype=np.int64)
    np.add.at(confusion, (targets, answers), 1)
    of_truth = probabilities[np.arange(len(targets)), targets]
    return Metrics(
        reviews=len(targets),
        labels=tuple(labels),
        accuracy=float((answers == targets).mean()),
        macro_f1=_macro_f1(confusion),
        auroc=_auroc(targets == 1, probabilities[:, 1]) if len(labels) == 2 else None,
        log_loss=float(-np.log(np.maximum(of_truth, np.finfo(np.float64).tiny)).mean()),
        ece=calibration_error(answers == targets, probabilities.max(axis=1)),
        confusion=confusion.tolist(),
    )


def _macro_f1(confusion: NDArray[np.int64]) -> float:
    hits = np.diag(confusion)
    either = confusion.sum(axis=0) + confusion.sum(axis=1)
    occur = either > 0
    return float(np.mean(2 * hits[occur] / either[occur]))


def _auroc(positive: NDArray[np.bool_], scores: NDArray[np.float64]) -> float | None:
    """The chance that a positive review scores above a negative one, ties counting half."""
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if not positives or not negatives:
        return None
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    pairs_won = ranks[positive].sum() - positives * (positives + 1) / 2
    return float(pairs_won / (positives * negatives))


def calibration_error(correct: NDArray[np.bool_], confidence: NDArray[np.float64]) -> float:
    """Mean gap between confidence and accuracy over equal-width bins, weighted by their size."""
    bins = np.minimum((confidence * ECE_BINS).astype(np.int64), ECE_BINS - 1)
    gaps = np.bincount(bins, weights=correct - confidence, minlength=ECE_BINS)
    return float(np.abs(gaps).sum() / len(correct))
