"""Labelled reviews with the answers that a classifier gave them: what every figure is made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reelsense.datasets.reviews import Review
from reelsense.errors import InputError, TextError
from reelsense.evaluation.scorer import Scorer, answer


@dataclass(frozen=True, slots=True, eq=False)
class LabelledPredictions:
    """Reviews (n) and what a classifier says of them."""

    reviews: Sequence[Review]
    labels: tuple[str, ...]
    probabilities: NDArray[np.float64]
    """(n, labels)."""
    targets: NDArray[np.int64]
    """Index of the true label of each review."""
    stars: NDArray[np.float64] | None = None
    """The star rating that the classifier expects of each review."""
    tokens: NDArray[np.int64] | None = None
    """Tokens of each review; None: the classifier does not count them."""

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
        return np.asarray(self.answers == self.targets)


@dataclass(frozen=True, slots=True, eq=False)
class LabelledReviews:
    """Reviews (n) with the index of the true label of each."""

    reviews: list[Review]
    targets: NDArray[np.int64]


def labelled(reviews: Sequence[Review], labels: Sequence[str]) -> LabelledReviews:
    """Return those of `reviews` that carry a label.

    Raises InputError if none does, or if one carries a label that is none of `labels`.
    """
    index = {label: n for n, label in enumerate(labels)}
    known = [review for review in reviews if review.label is not None]
    if not known:
        raise InputError("there are no labelled reviews to measure on")
    for review in known:
        if review.label not in index:
            raise InputError(
                f"{review.name} has the label {review.label!r}, the model knows {list(labels)}: "
                "rename the labels of the data, or train a model on them"
            )
    return LabelledReviews(known, np.array([index[str(review.label)] for review in known]))


def unreadable(reviews: Sequence[Review], error: TextError) -> InputError:
    """Return the error that names the one of `reviews` that `error` is about."""
    return InputError(f"{reviews[error.position].name} {error.reason}")


def predict_labelled(
    scorer: Scorer, reviews: Sequence[Review], title: str = "scoring"
) -> LabelledPredictions:
    """Score those of `reviews` that carry a label.

    Raises InputError as `labelled` does, and naming a review that cannot be read.
    """
    known = labelled(reviews, scorer.labels)
    try:
        found = answer(scorer, [review.text for review in known.reviews], title)
    except TextError as error:
        raise unreadable(known.reviews, error) from error
    labels = tuple(scorer.labels)
    return LabelledPredictions(
        known.reviews, labels, found.probabilities, known.targets, found.stars, found.tokens
    )
