"""Selective prediction: fit decision thresholds, and measure their coverage and selective error.

The thresholds are fitted with Learn then Test (`find_thresholds`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from reelsense.bundle import LengthGroup, Threshold
from reelsense.evaluation.metrics import share, share_of
from reelsense.evaluation.predictions import LabelledPredictions
from reelsense.inference.calibration import group_numbers
from reelsense.report.results import SelectiveGroup, SelectiveResult, Share

RISKS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2)  # target error rates that bundles have
CONFIDENCE = 0.95
METHOD = (
    "Learn then Test (Angelopoulos et al. 2021, arXiv:2110.01052), exact binomial p-values, "
    "fallback procedure from two starting points"
)

_GRID = np.arange(1000, -1, -1) / 1000  # thresholds to test, highest first

# Starting points of the sequence of tests: expected error there in units of the target error rate,
# and share of the significance level. Above the first one, the mean error is below the target. A
# good model may have hardly any prediction that confident; the second one is for such a model.
_STARTS = ((1.0, 0.8), (2.0, 0.2))


def find_thresholds(
    scores: NDArray[np.float64], correct: NDArray[np.bool_]
) -> tuple[Threshold, ...]:
    """Find a threshold for each target error rate in RISKS, in ascending order.

    Learn then Test (Angelopoulos, Bates, Candes, Jordan and Lei 2021,
    https://arxiv.org/abs/2110.01052): each threshold of a grid is a null hypothesis, "the selective
    error here is above the target error rate", tested with an exact binomial p-value from high to
    low thresholds. The result is the lowest threshold whose hypothesis is rejected. It keeps its
    target error rate with CONFIDENCE over the sampling of the texts.

    Args:
        scores: Calibrated probability (n) of each prediction, 0 to 1.
        correct: Whether each prediction (n) is correct.

    Returns:
        The thresholds; the score is None if the rate cannot be kept. The threshold of a lower rate
        is reused for a higher one if its coverage is higher.
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

    Tests in a fixed sequence need no correction for their number, but the first one must be able to
    succeed. Two starting points therefore share the level (the fallback procedure of Wiens and
    Dmitrienko 2005, https://doi.org/10.1080/10543400500265660): a start adds its part to the level
    that the tests before it passed on, and a test that fails spends all of it. Where the sequence
    starts depends on `risk` alone, so the guarantee holds for any finite number of texts.
    """
    p_values = binom.cdf(wrong, decided, risk)
    starts = list(_STARTS)
    level, reached = 0.0, np.inf
    for threshold, p_value in zip(_GRID, p_values, strict=True):
        while starts and threshold <= 1 - starts[0][0] * risk + 1e-9:
            level += (1 - CONFIDENCE) * starts.pop(0)[1]
        if p_value <= level:
            reached = threshold
        else:
            level = 0.0
    return float(reached)


def selective_results(
    predictions: LabelledPredictions, groups: Sequence[LengthGroup]
) -> list[SelectiveResult]:
    """Return one result per target error rate, each text by the thresholds of its length group."""
    if not groups:
        return []
    everything = np.full(len(predictions.reviews), True)
    return _results(predictions, groups, _group_numbers(predictions, groups), everything)


def selective_by_length(
    predictions: LabelledPredictions, groups: Sequence[LengthGroup]
) -> list[SelectiveGroup]:
    """Return the results of each length group with texts; empty if there is only one group."""
    if len(groups) < 2:
        return []
    numbers = _group_numbers(predictions, groups)
    return [
        SelectiveGroup(
            group.name, group.max_tokens, _results(predictions, groups, numbers, numbers == n)
        )
        for n, group in enumerate(groups)
        if (numbers == n).any()
    ]


def minimum_scores(groups: Sequence[LengthGroup], risk: float) -> NDArray[np.float64]:
    """Return the decision threshold of each length group for `risk`; infinite if unreachable."""
    thresholds = [group.threshold(risk) for group in groups]
    return np.array([np.inf if value is None else value for value in thresholds])


def _group_numbers(
    predictions: LabelledPredictions, groups: Sequence[LengthGroup]
) -> NDArray[np.intp]:
    """Return the index of each text's length group; the last if tokens are not counted."""
    if predictions.tokens is None:
        return np.full(len(predictions.reviews), len(groups) - 1)
    return group_numbers(groups, predictions.tokens)


def _results(
    predictions: LabelledPredictions,
    groups: Sequence[LengthGroup],
    numbers: NDArray[np.intp],
    chosen: NDArray[np.bool_],
) -> list[SelectiveResult]:
    """Return the results on the `chosen` texts (n), whose length groups are `numbers` (n)."""
    present = np.unique(numbers[chosen]).tolist()
    results = []
    for risk in [threshold.risk for threshold in groups[-1].thresholds]:
        decided = chosen & (predictions.confidence >= minimum_scores(groups, risk)[numbers])
        results.append(
            SelectiveResult(
                risk,
                tuple(groups[n].threshold(risk) for n in present),
                coverage=share_of(decided[chosen]),
                selective_error=share_of(~predictions.correct[decided]),
            )
        )
    return results


def accuracy_by_coverage(
    predictions: LabelledPredictions,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return coverage (n) and accuracy (n) of the most confident predictions, in that order."""
    correct = predictions.correct[np.argsort(-predictions.confidence, kind="stable")]
    counts = np.arange(1, len(correct) + 1)
    return counts / len(correct), np.cumsum(correct) / counts


def accuracy_at_coverage(predictions: LabelledPredictions, coverage: float) -> Share:
    """Return the accuracy on the share `coverage` of the most confident predictions."""
    order = np.argsort(-predictions.confidence, kind="stable")
    count = round(coverage * len(order))
    return share(int(predictions.correct[order[:count]].sum()), count)
