"""Labelled reviews with the predictions of a classifier: the input of most metrics."""

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
    """Reviews (n) with their true labels and the predictions of a classifier."""

    reviews: Sequence[Review]
    labels: tuple[str, ...]
    probabilities: NDArray[np.float64]
    """(n, labels)."""
    targets: NDArray[np.int64]
    """Index of the true label of each review."""
    stars: NDArray[np.float64] | None = None
    """Expected star rating of each review."""
    tokens: NDArray[np.int64] | None = None
    """Number of tokens of each review; None: the classifier does not count them."""

    @property
    def predicted(self) -> NDArray[np.int64]:
        """Index of the predicted label of each review."""
        return np.asarray(self.probabilities.argmax(axis=1))

    @property
    def confidence(self) -> NDArray[np.float64]:
        """Probability of each predicted label."""
        return np.asarray(self.probabilities.max(axis=1))

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether each predicted label is the true one."""
        return np.asarray(self.predicted == self.targets)


@dataclass(frozen=True, slots=True, eq=False)
class LabelledReviews:
    """Reviews (n) with the index of the true label of each."""

    reviews: list[Review]
    targets: NDArray[np.int64]


def labelled(reviews: Sequence[Review], labels: Sequence[str]) -> LabelledReviews:
    """Return the reviews that have a label.

    Raises:
        InputError: No review has a label (code `no-labels`), or one has a label that is not among
            `labels` (code `unknown-label`).
    """
    index = {label: n for n, label in enumerate(labels)}
    known = [review for review in reviews if review.label is not None]
    if not known:
        raise InputError(
            f"none of the {len(reviews):,} reviews has a label: name the column with the labels",
            code="no-labels",
        )
    for review in known:
        if review.label not in index:
            raise InputError(
                f"unknown label {review.label!r} of {review.name}: expected one of {list(labels)}; "
                "rename the labels of the data, or train a model on them",
                code="unknown-label",
            )
    return LabelledReviews(known, np.array([index[str(review.label)] for review in known]))


def unreadable(reviews: Sequence[Review], error: TextError) -> InputError:
    """Return an error with the name of the review in `reviews` that `error` is about."""
    return InputError(f"{reviews[error.position].name} {error.reason}", code=error.code)


def predict_labelled(
    scorer: Scorer, reviews: Sequence[Review], title: str = "scoring"
) -> LabelledPredictions:
    """Score the reviews that have a label, with a progress bar named `title`.

    Raises:
        InputError: As `labelled` does, or a review cannot be scored.
    """
    known = labelled(reviews, scorer.labels)
    try:
        answers = answer(scorer, [review.text for review in known.reviews], title)
    except TextError as error:
        raise unreadable(known.reviews, error) from error
    return LabelledPredictions(
        known.reviews,
        tuple(scorer.labels),
        answers.probabilities,
        known.targets,
        answers.stars,
        answers.tokens,
    )
