from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelsense.evaluation.evaluate import by_length, by_rating, star_mae
from reelsense.evaluation.predictions import LabelledPredictions
from tests.evaluation.test_predictions import predictions


def of_lengths(*lengths: int) -> LabelledPredictions:
    """Return reviews with these numbers of words; every second prediction is wrong."""
    labelled = predictions(*(("positive", (0.9, 0.1)[n % 2]) for n in range(len(lengths))))
    texts = ["word,\n" * length for length in lengths]
    reviews = [
        replace(review, text=text) for review, text in zip(labelled.reviews, texts, strict=True)
    ]
    return replace(labelled, reviews=reviews)


@given(st.lists(st.integers(1, 1300), min_size=1, max_size=30))
def test_by_length_counts_every_review_once(lengths: list[int]) -> None:
    labelled = of_lengths(*lengths)
    slices = [part.accuracy for part in by_length(labelled)]
    assert all(part.total for part in slices)
    assert sum(part.total for part in slices) == len(lengths)
    assert sum(part.count for part in slices) == labelled.correct.sum()


def test_by_length_at_the_edges() -> None:
    slices = by_length(of_lengths(1001, 50, 51, 1, 1000, 5000, 100))
    assert [(part.name, part.accuracy.count, part.accuracy.total) for part in slices] == [
        ("1 to 50", 0, 2),
        ("51 to 100", 2, 2),
        ("501 to 1,000", 1, 1),
        ("over 1,000", 1, 2),
    ]


def test_by_rating() -> None:
    labelled = of_lengths(1, 1, 1, 1, 1)
    assert by_rating(labelled) == []
    ratings = (10, 1, None, 1, 2)
    reviews = [replace(r, rating=stars) for r, stars in zip(labelled.reviews, ratings, strict=True)]
    slices = by_rating(replace(labelled, reviews=reviews))
    assert [(part.name, part.accuracy.count, part.accuracy.total) for part in slices] == [
        ("1", 0, 2),
        ("2", 1, 1),
        ("10", 1, 1),
    ]


def test_star_mae_ignores_reviews_without_rating() -> None:
    labelled = of_lengths(1, 1, 1)
    with_stars = replace(labelled, stars=np.array([8.5, 3.0, 4.0]))
    assert star_mae(with_stars) is None
    ratings = (10, None, 2)
    reviews = [replace(r, rating=stars) for r, stars in zip(labelled.reviews, ratings, strict=True)]
    assert star_mae(replace(labelled, reviews=reviews)) is None
    assert star_mae(replace(with_stars, reviews=reviews)) == pytest.approx((1.5 + 2) / 2)
