"""Fit decision thresholds that keep target error rates.

Learn then Test (Angelopoulos, Bates, Candes, Jordan and Lei 2021,
https://arxiv.org/abs/2110.01052): each threshold of a grid is a null hypothesis, "the
selective error here is above the target error rate", tested with an exact binomial p-value from
high to low thresholds. The result is the lowest threshold whose hypothesis is rejected.

Tests in a fixed sequence need no correction for their number, but the first one must be able to
succeed. The sequence therefore has two starting points that share the level (the fallback procedure
of Wiens and Dmitrienko 2005, https://doi.org/10.1080/10543400500265660): a start adds its part of
the level to what the tests before it passed on, and a test that fails spends all of it. Where the
sequence starts depends on the target error rate alone, so the guarantee holds for any finite number
of texts drawn like the ones to come.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from reelsense.bundle import Threshold

RISKS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2)
"""Target error rates for which a bundle has thresholds."""

CONFIDENCE = 0.95

METHOD = (
    "Learn then Test (Angelopoulos et al. 2021, arXiv:2110.01052), exact binomial p-values, "
    "fallback procedure from two starting points"
)


@dataclass(frozen=True, slots=True)
class _Start:
    """A starting point of the sequence of tests."""

    times_risk: float
    """The probability of an error there, in units of the target error rate."""
    share: float
    """Share of the significance level."""


_STARTS = (_Start(1.0, 0.8), _Start(2.0, 0.2))
"""Above the first one, the mean error is below the target. A good model may have hardly any
prediction that confident; the second one is for such a model."""

_GRID = np.arange(1000, -1, -1) / 1000
"""Thresholds to test, highest first."""


def find_thresholds(
    scores: NDArray[np.float64], correct: NDArray[np.bool_]
) -> tuple[Threshold, ...]:
    """Find a threshold for each target error rate in RISKS.

    Each keeps its target error rate with CONFIDENCE over the sampling of the texts. The threshold
    of a lower rate is reused for a higher one if its coverage is higher.

    Args:
        scores: Calibrated probability (n) of each prediction, 0 to 1.
        correct: Whether each prediction (n) is correct.

    Returns:
        One threshold for each target error rate, in ascending order; its score is None if the
        rate cannot be kept.

    """
    order = np.argsort(-scores, kind="stable")
    wrong = np.concatenate([[0], np.cumsum(~correct[order])])
    counts = np.searchsorted(-scores[order], -_GRID, side="right")
    thresholds: list[Threshold] = []
    lowest = np.inf
    for risk in RISKS:
        lowest = min(lowest, _lowest(counts, wrong[counts], risk))
        thresholds.append(Threshold(risk, float(lowest) if lowest <= 1 else None))
    return tuple(thresholds)


def _lowest(decided: NDArray[np.intp], wrong: NDArray[np.int64], risk: float) -> float:
    """Return the lowest threshold whose hypothesis is rejected; infinity if there is none.

    `decided` and `wrong` count the predictions and the errors at each threshold of the grid.
    """
    p_values = binom.cdf(wrong, decided, risk)
    starts = list(_STARTS)
    level, reached = 0.0, np.inf
    for threshold, p_value in zip(_GRID, p_values, strict=True):
        while starts and threshold <= 1 - starts[0].times_risk * risk + 1e-9:
            level += (1 - CONFIDENCE) * starts.pop(0).share
        if p_value <= level:
            reached = threshold
        else:
            level = 0.0
    return float(reached)
