"""Labelled reviews with the answers that a classifier gave them: what every figure is made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from reelsense.datasets.reviews import Review
from reelsense.errors import InputError
from reelsense.evaluation.scorer import Scorer, score


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Reviews (n) and what a classifier says of them."""

    reviews: Sequence[Review]
    labels: tuple[str, ...]
    probabilities: NDArray[np.float64]
    """(n, labels)."""
    wanted: NDArray[np.int64]
    """Index of the true label of each review."""

    @property
    def answers(self) -> NDArray[np.int64]:
        """Index of the label that each review got."""
        return np.asarray(self.probabilities.argmax(axis=1))

    @property
    def confidence(self) -> NDArray[np.float64]:
        """The probability of each answer."""
        return np.asarray(self.probabilities.max(axis=1))

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether each answer is the true label."""
        return np.asarray(self.answers == self.wanted)

    def where(self, chosen: NDArray[np.bool_]) -> Judged:
        """Return the part that is `chosen` (n)."""
        reviews = [review for review, keep in zip(self.reviews, chosen, strict=True) if keep]
        return replace(
            self,
            reviews=reviews,
            probabilities=self.probabilities[chosen],
            wanted=self.wanted[chosen],
        )


def judge(scorer: Scorer, reviews: Sequence[Review], title: str = "scoring") -> Judged:
    """Score those of `reviews` that carry a label.

    Raises InputError if none does, or if a label is none of the model's.
    """
    labelled = [review for review in reviews if review.label is not None]
    if not labelled:
        raise InputError("there are no labelled reviews to measure on")
    index = {label: n for n, label in enumerate(scorer.labels)}
    unknown = {review.label for review in labelled if review.label} - set(index)
    if unknown:
        raise InputError(
            f"the data has the labels {sorted(unknown)}, the model knows {list(scorer.labels)}"
        )
    wanted = np.array([index[review.label] for review in labelled if review.label is not None])
    found = score(scorer, [review.text for review in labelled], title)
    return Judged(labelled, tuple(scorer.labels), found, wanted)
