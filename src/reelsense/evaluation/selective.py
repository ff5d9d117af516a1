"""What is gained by saying "unsure": coverage, and the errors among what is decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reelsense.bundle import LengthGroup
from reelsense.evaluation.metrics import Share, share
from reelsense.evaluation.predictions import LabelledPredictions
from reelsense.inference.calibration import group_numbers


@dataclass(frozen=True, slots=True)
class SelectiveResult:
    """How thresholds fare on labelled texts."""

    risk: float
    thresholds: tuple[float | None, ...]
    """Of each length group that has texts, shortest first. None: no threshold keeps to this risk,
    every answer of the group is unsure."""
    decided: Share
    """Coverage: of all texts."""
    wrong: Share
    """Selective error: of the decided ones; to be at most `risk`."""

    @property
    def reachable(self) -> bool:
        """Whether there is a threshold for this risk in any group."""
        return any(score is not None for score in self.thresholds)

    @property
    def kept(self) -> bool | None:
        """Whether the risk is kept; None where the interval of the wrong ones holds it."""
        if self.wrong.high <= self.risk:
            return True
        return False if self.wrong.low > self.risk else None


@dataclass(frozen=True, slots=True)
class SelectiveGroup:
    """How the thresholds of a length group fare on its texts."""

    name: str
    max_tokens: int | None
    """None: no upper bound."""
    decided: list[SelectiveResult]


def selective_results(
    predictions: LabelledPredictions, groups: Sequence[LengthGroup]
) -> list[SelectiveResult]:
    """Return how the thresholds of `groups` fare on `judged`, each text by those of its group."""
    if not groups:
        return []
    return _decided(
        predictions, groups, _numbers(predictions, groups), np.full(len(predictions.reviews), True)
    )


def selective_by_length(
    predictions: LabelledPredictions, groups: Sequence[LengthGroup]
) -> list[SelectiveGroup]:
    """Return the same for each of `groups` that has texts; nothing if there is only one group."""
    numbers = _numbers(predictions, groups)
    return [
        SelectiveGroup(
            group.name,
            group.max_tokens,
            _decided(predictions, groups, numbers, chosen=numbers == n),
        )
        for n, group in enumerate(groups)
        if len(groups) > 1 and (numbers == n).any()
    ]


def _numbers(predictions: LabelledPredictions, groups: Sequence[LengthGroup]) -> NDArray[np.intp]:
    """Return the group (n) of each text; the last one if the scorer does not count tokens."""
    if predictions.tokens is None:
        return np.full(len(predictions.reviews), len(groups) - 1)
    return group_numbers(groups, predictions.tokens)


def _decided(
    predictions: LabelledPredictions,
    groups: Sequence[LengthGroup],
    numbers: NDArray[np.intp],
    chosen: NDArray[np.bool_],
) -> list[SelectiveResult]:
    """Return how `groups` fare on the `chosen` texts (n), which are in the groups `numbers` (n)."""
    present = np.unique(numbers[chosen]).tolist()
    total = int(chosen.sum())
    rows = []
    for risk in [each.risk for each in groups[-1].thresholds]:
        scores = [group.threshold(risk) for group in groups]
        least = np.array([np.inf if score is None else score for score in scores])
        decided = chosen & (predictions.confidence >= least[numbers])
        count, wrong = int(decided.sum()), int((decided & ~predictions.correct).sum())
        thresholds = tuple(scores[n] for n in present)
        rows.append(SelectiveResult(risk, thresholds, share(count, total), share(wrong, count)))
    return rows


def accuracy_by_coverage(
    predictions: LabelledPredictions,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return coverage (n) and the accuracy (n) of that share of the answers, the surest first."""
    correct = predictions.correct[np.argsort(-predictions.confidence, kind="stable")]
    counts = np.arange(1, len(correct) + 1)
    return counts / len(correct), np.cumsum(correct) / counts


def accuracy_at_coverage(predictions: LabelledPredictions, coverage: float = 0.8) -> Share:
    """Return the accuracy of the `coverage` share of answers that the model is surest of."""
    surest = np.argsort(-predictions.confidence, kind="stable")[
        : round(coverage * len(predictions.reviews))
    ]
    return share(int(predictions.correct[surest].sum()), len(surest))
