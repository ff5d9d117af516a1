"""Accuracy by length and star rating, and the error of the star ratings."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from reelsense.evaluation.metrics import share_of
from reelsense.evaluation.predictions import LabelledPredictions
from reelsense.report.results import Slice

_WORDS = (0, 50, 100, 150, 200, 300, 500, 1000)
"""Edges of the ranges of lengths."""


def by_length(predictions: LabelledPredictions) -> list[Slice]:
    """Return the accuracy by number of words."""
    words = np.array([len(review.text.split()) for review in predictions.reviews])
    slices = []
    for low, high in pairwise([*_WORDS, np.inf]):
        chosen = (words > low) & (words <= high)
        name = f"over {low:,}" if high == np.inf else f"{low + 1:,} to {high:,}"
        if chosen.any():
            slices.append(Slice(name, share_of(predictions.correct[chosen])))
    return slices


def by_rating(predictions: LabelledPredictions) -> list[Slice]:
    """Return the accuracy by star rating; empty if no review has one."""
    ratings = np.array([review.rating or 0 for review in predictions.reviews])
    return [
        Slice(str(rating), share_of(predictions.correct[ratings == rating]))
        for rating in sorted(set(ratings.tolist()) - {0})
    ]


def star_mae(predictions: LabelledPredictions) -> float | None:
    """Return the mean absolute error of the expected star ratings; None without ratings."""
    ratings = np.array([review.rating or 0 for review in predictions.reviews])
    if predictions.stars is None or not ratings.any():
        return None
    return float(np.abs(predictions.stars - ratings)[ratings > 0].mean())
