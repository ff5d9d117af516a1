"""Metrics from arrays of targets and probabilities. Does not depend on texts or models."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn import metrics

from reelsense.report.results import ClassificationMetrics, Share

ECE_BINS = 15  # as in Guo et al. (2017, "On Calibration of Modern Neural Networks")


def share(count: int, total: int) -> Share:
    """Return `count` of `total` with Wilson's 95% interval; 0 to 1 if `total` is 0."""
    return Share.of(count, total)


def share_of(flags: NDArray[np.bool_]) -> Share:
    """Return the share of `flags` (n) that are True, with its 95% interval."""
    return share(int(flags.sum()), len(flags))


def mcnemar(only_first: int, only_second: int, *, one_sided: bool = False) -> float:
    """Return the p-value of McNemar's exact test (1947) of two models on the same texts.

    The arguments are the numbers of texts on which only one model is correct. `one_sided` tests
    whether the first model is more accurate.
    """
    if not only_first + only_second:
        return 1.0
    alternative = "greater" if one_sided else "two-sided"
    return float(binomtest(only_first, only_first + only_second, alternative=alternative).pvalue)


def classification_metrics(
    targets: NDArray[np.int64], probabilities: NDArray[np.float64], labels: Sequence[str]
) -> ClassificationMetrics:
    """Compare `probabilities` (n, labels) with `targets` (n), the index of each true label."""
    predicted = probabilities.argmax(axis=1)
    classes = range(len(labels))
    binary = len(labels) == 2 and len(np.unique(targets)) == 2
    return ClassificationMetrics(
        reviews=len(targets),
        labels=tuple(labels),
        accuracy=float(metrics.accuracy_score(targets, predicted)),
        macro_f1=float(metrics.f1_score(targets, predicted, average="macro")),
        auroc=float(metrics.roc_auc_score(targets, probabilities[:, 1])) if binary else None,
        log_loss=float(metrics.log_loss(targets, probabilities, labels=classes)),
        ece=calibration_error(predicted == targets, probabilities.max(axis=1)),
        confusion=metrics.confusion_matrix(targets, predicted, labels=classes).tolist(),
    )


def calibration_error(correct: NDArray[np.bool_], confidence: NDArray[np.float64]) -> float:
    """Return the expected calibration error of predictions (n), between 0 and 1."""
    bins = np.minimum((confidence * ECE_BINS).astype(np.int64), ECE_BINS - 1)
    gaps = np.bincount(bins, weights=correct - confidence, minlength=ECE_BINS)
    return float(np.abs(gaps).sum() / len(correct))
