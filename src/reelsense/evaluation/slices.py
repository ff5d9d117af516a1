"""Where a model is good and where it is not: accuracy by length and by star rating."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from reelsense.evaluation.metrics import Share, share
from reelsense.evaluation.predictions import LabelledPredictions

_WORDS = (0, 50, 100, 150, 200, 300, 500, 1000)
"""Edges between the lengths that are told apart."""


@dataclass(frozen=True, slots=True)
class Slice:
    """The accuracy on a part of the reviews."""

    name: str
    accuracy: Share


def by_length(predictions: LabelledPredictions) -> list[Slice]:
    """Return the accuracy by the number of words."""
    words = np.array([len(review.text.split()) for review in predictions.reviews])
    edges = [*_WORDS, np.inf]
    slices = []
    for low, high in pairwise(edges):
        name = f"over {low:,}" if high == np.inf else f"{low + 1:,} to {high:,}"
        slices.append(_slice(predictions, name, (words > low) & (words <= high)))
    return [each for each in slices if each.accuracy.total]


def by_rating(predictions: LabelledPredictions) -> list[Slice]:
    """Return the accuracy by star rating; empty where no review has one."""
    ratings = np.array([review.rating or 0 for review in predictions.reviews])
    return [
        _slice(predictions, str(rating), ratings == rating) for rating in sorted(set(ratings) - {0})
    ]


def star_mae(predictions: LabelledPredictions) -> float | None:
    """Return by how many stars the expected ratings are off on average; None without stars."""
    ratings = np.array([review.rating or 0 for review in predictions.reviews])
    if predictions.stars is None or not ratings.any():
        return None
    return float(np.abs(predictions.stars - ratings)[ratings > 0].mean())


def _slice(predictions: LabelledPredictions, name: str, chosen: np.ndarray) -> Slice:
    return Slice(name, share(int(predictions.correct[chosen].sum()), int(chosen.sum())))
