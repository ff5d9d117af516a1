"""What is gained by saying "unsure": decided shares, and the errors among what is decided."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reelsense.bundle import RiskControl
from reelsense.evaluation.judged import Judged
from reelsense.evaluation.metrics import Share, share


@dataclass(frozen=True, slots=True)
class Decided:
    """How a threshold fares on labelled reviews."""

    risk: float
    threshold: float | None
    """None: no threshold keeps to this risk, everything is unsure."""
    decided: Share
    """Of all reviews."""
    wrong: Share
    """Of the decided ones; to be at most `risk`."""

    @property
    def kept(self) -> bool | None:
        """Whether the risk is kept; None where the interval of the wrong ones holds it."""
        if self.wrong.high <= self.risk:
            return True
        return False if self.wrong.low > self.risk else None


def decided_shares(judged: Judged, control: RiskControl) -> list[Decided]:
    """Return how every threshold of `control` fares on `judged`."""
    shares = []
    for each in control.thresholds:
        decided = judged.confidence >= (np.inf if each.score is None else each.score)
        wrong = int((decided & ~judged.correct).sum())
        count = int(decided.sum())
        shares.append(
            Decided(each.risk, each.score, share(count, len(decided)), share(wrong, count))
        )
    return shares


def accuracy_by_coverage(judged: Judged) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return coverage (n) and the accuracy (n) of that share of the answers, the surest first."""
    correct = judged.correct[np.argsort(-judged.confidence, kind="stable")]
    counts = np.arange(1, len(correct) + 1)
    return counts / len(correct), np.cumsum(correct) / counts


def surest_accuracy(judged: Judged, coverage: float = 0.8) -> Share:
    """Return the accuracy of the `coverage` share of answers that the model is surest of."""
    surest = np.argsort(-judged.confidence, kind="stable")[: round(coverage * len(judged.reviews))]
    return share(int(judged.correct[surest].sum()), len(surest))
