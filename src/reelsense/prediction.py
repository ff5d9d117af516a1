"""What a classifier answers. Plain frozen data: knows no model, no HTTP."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

UNSURE = "unsure"
"""The verdict where no label is sure enough."""


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """The bare answers for some texts (n)."""

    probabilities: NDArray[np.float64]
    """(n, labels)."""
    stars: NDArray[np.float64] | None
    """The expected star rating of each text; None of a model that has learned none."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of a text was read, in tokens. `scored` is less than `total` only if cut short."""

    total: int
    scored: int


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer for one text."""

    label: str
    """The most probable label."""
    score: float
    """Its probability, 0 to 1."""
    probabilities: dict[str, float]
    """The probability of every label of the model; they sum to 1."""
    verdict: str
    """`label`, or "unsure" where that is not sure enough for the risk."""
    stars: float | None
    """The expected star rating, 1.0 to 10.0; None of a model that has learned none."""
    tokens: Coverage

    @property
    def positive(self) -> float:
        """The probability of "positive". Raises KeyError for a model without that label."""
        return self.probabilities["positive"]

    @property
    def negative(self) -> float:
        """The probability of "negative". Raises KeyError for a model without that label."""
        return self.probabilities["negative"]
