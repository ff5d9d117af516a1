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
    probabilities: NDArray[np.float64]  # (n, labels)
    targets: NDArray[np.int64]  # (n), index of the true label
    stars: NDArray[np.float64] | None = None  # (n), expected star rating
    tokens: NDArray[np.int64] | None = None  # (n); None: the classifier does not count them

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


def labelled(
    reviews: Sequence[Review], labels: Sequence[str]
) -> tuple[list[Review], NDArray[np.int64]]:
    """Return the reviews that have a label (n), and its index (n) in `labels`.

    Raises:
        InputError: No review has a label (code `no-labels`), or one has a label that is not among
            `labels` (code `unknown-label`).
    """
    known = [review for review in reviews if review.label is not None]
    if not known:
        raise InputError(
            f"none of the {len(reviews):,} texts has a label: set the column with the labels",
            code="no-labels",
        )
    for review in known:
        if review.label not in labels:
            raise InputError(
                f"unknown label {review.label!r} of {review.name}: expected one of {list(labels)}; "
                "rename the labels of the data, or train a model on them",
                code="unknown-label",
            )
    return known, np.array([labels.index(str(review.label)) for review in known])


def unreadable(reviews: Sequence[Review], error: TextError) -> InputError:
    """Return `error`, which is about one of `reviews`, with the name of that review."""
    return InputError(f"{reviews[error.position].name} {error.reason}", code=error.code)


def predict_labelled(
    scorer: Scorer, reviews: Sequence[Review], title: str = "scoring"
) -> LabelledPredictions:
    """Score the reviews that have a label, with a progress bar named `title`.

    Raises:
        InputError: As `labelled` does, or a review cannot be scored.
    """
    known, targets = labelled(reviews, scorer.labels)
    try:
        answers = answer(scorer, [review.text for review in known], title)
    except TextError as error:
        raise unreadable(known, error) from error
    return LabelledPredictions(
        known, tuple(scorer.labels), answers.probabilities, targets, answers.stars, answers.tokens
    )
