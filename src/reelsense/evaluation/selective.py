"""Selective prediction: coverage and selective error of the decision thresholds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from reelsense.bundle import LengthGroup
from reelsense.evaluation.metrics import share, share_of
from reelsense.evaluation.predictions import LabelledPredictions
from reelsense.inference.calibration import group_numbers
from reelsense.report.results import SelectiveGroup, SelectiveResult, Share


def selective_results(
    predictions: LabelledPredictions, groups: Sequence[LengthGroup]
) -> list[SelectiveResult]:
    """Return one result per target error rate, each text by the thresholds of its length group."""
    if not groups:
        return []
    everything = np.full(len(predictions.reviews), True)
    return _results(predictions, groups, _group_of_each(predictions, groups), everything)


def selective_by_length(
    predictions: LabelledPredictions, groups: Sequence[LengthGroup]
) -> list[SelectiveGroup]:
    """Return the results of each length group with texts; empty if there is only one group."""
    if len(groups) < 2:
        return []
    numbers = _group_of_each(predictions, groups)
    return [
        SelectiveGroup(
            group.name, group.max_tokens, _results(predictions, groups, numbers, numbers == n)
        )
        for n, group in enumerate(groups)
        if (numbers == n).any()
    ]


def _group_of_each(
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
        thresholds = [group.threshold(risk) for group in groups]
        minimum = np.array([np.inf if value is None else value for value in thresholds])
        decided = chosen & (predictions.confidence >= minimum[numbers])
        results.append(
            SelectiveResult(
                risk,
                tuple(thresholds[n] for n in present),
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


def accuracy_at_coverage(predictions: LabelledPredictions, coverage: float = 0.8) -> Share:
    """Return the accuracy on the share `coverage` of the most confident predictions."""
    order = np.argsort(-predictions.confidence, kind="stable")
    count = round(coverage * len(order))
    return share(int(predictions.correct[order[:count]].sum()), count)
