"""Find from which probability on an answer is decided, so that a target error rate is kept.

Learn then Test (Angelopoulos, Bates, Candes, Jordan and Lei 2021,
https://arxiv.org/abs/2110.01052): each threshold of a grid is a hypothesis, "of the answers decided
here, more than the target error rate are wrong", tested with an exact binomial p-value from high to
low thresholds. The lowest threshold whose hypothesis is rejected is taken.

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
"""Target error rates that a bundle has thresholds for."""

CONFIDENCE = 0.95

METHOD = (
    "Learn then Test (Angelopoulos et al. 2021, arXiv:2110.01052), exact binomial p-values, "
    "fallback procedure from two starting points"
)


@dataclass(frozen=True, slots=True)
class _Start:
    """A starting point of the sequence of tests."""

    times_risk: float
    """It is where a calibrated answer is wrong with so many times the target error rate."""
    share: float
    """Its share of the level."""


_STARTS = (_Start(1.0, 0.8), _Start(2.0, 0.2))
"""At the first one the mean error above is lower than the target: by half in a poor model, by far
in a good one, which may have hardly an answer that sure; the second one is for such a model."""

_GRID = np.arange(1000, -1, -1) / 1000
"""Thresholds that are tested, highest first."""


def find_thresholds(
    scores: NDArray[np.float64], correct: NDArray[np.bool_]
) -> tuple[Threshold, ...]:
    """Find a threshold for each of RISKS.

    Each keeps to its risk with CONFIDENCE over the draw of the texts. A lower risk's threshold is
    taken for a higher risk if it decides more.

    Args:
        scores: Calibrated probability (n) of each answer, 0 to 1.
        correct: Whether each answer (n) is right.

    Returns:
        One threshold for each risk, in ascending order; its score is None if the risk cannot be
        kept.

    """
    order = np.argsort(-scores, kind="stable")
    wrong = np.concatenate([[0], np.cumsum(~correct[order])])
    counts = np.searchsorted(-scores[order], -_GRID, side="right")
    found: list[Threshold] = []
    lowest = np.inf
    for risk in RISKS:
        lowest = min(lowest, _lowest(counts, wrong[counts], risk))
        found.append(Threshold(risk, float(lowest) if lowest <= 1 else None))
    return tuple(found)


def _lowest(decided: NDArray[np.intp], wrong: NDArray[np.int64], risk: float) -> float:
    """Return the lowest threshold that the tests reach; infinity if none is rejected.

    `decided` and `wrong` are how many answers are at each threshold of the grid.
    """
    # The chance of so few wrong ones among so many if the risk were just the one that is named.
    chances = binom.cdf(wrong, decided, risk)
    starts = list(_STARTS)
    level, reached = 0.0, np.inf
    for threshold, chance in zip(_GRID, chances, strict=True):
        while starts and threshold <= 1 - starts[0].times_risk * risk + 1e-9:
            level += (1 - CONFIDENCE) * starts.pop(0).share
        if chance <= level:
            reached = threshold
        else:
            level = 0.0
    return float(reached)
