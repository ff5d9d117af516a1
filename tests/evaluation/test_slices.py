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
    """Reviews of so many words; every second answer is wrong."""
    made = predictions(*(("positive", (0.9, 0.1)[n % 2]) for n in range(len(lengths))))
    texts = ["word,\n" * length for length in lengths]
    reviews = [replace(review, text=text) for review, text in zip(made.reviews, texts, strict=True)]
    return replace(made, reviews=reviews)


@given(st.lists(st.integers(1, 1300), min_size=1, max_size=30))
def test_every_review_counts_once(lengths: list[int]) -> None:
    made = of_lengths(*lengths)
    found = [each.accuracy for each in by_length(made)]
    assert all(each.total for each in found)
    assert sum(each.total for each in found) == len(lengths)
    assert sum(each.count for each in found) == made.correct.sum()


def test_lengths_are_told_apart_at_the_edges() -> None:
    found = by_length(of_lengths(1001, 50, 51, 1, 1000, 5000, 100))
    assert [(each.name, each.accuracy.count, each.accuracy.total) for each in found] == [
        ("1 to 50", 0, 2),
        ("51 to 100", 2, 2),
        ("501 to 1,000", 1, 1),
        ("over 1,000", 1, 2),
    ]


def test_stars() -> None:
    made = of_lengths(1, 1, 1, 1, 1)
    assert by_rating(made) == []
    ratings = (10, 1, None, 1, 2)
    reviews = [replace(r, rating=stars) for r, stars in zip(made.reviews, ratings, strict=True)]
    found = by_rating(replace(made, reviews=reviews))
    assert [(each.name, each.accuracy.count, each.accuracy.total) for each in found] == [
        ("1", 0, 2),
        ("2", 1, 1),
        ("10", 1, 1),
    ]


def test_how_far_off_the_stars_are() -> None:
    """Reviews without a rating do not count."""
    made = of_lengths(1, 1, 1)
    found = replace(made, stars=np.array([8.5, 3.0, 4.0]))
    assert star_mae(found) is None
    ratings = (10, None, 2)
    reviews = [replace(r, rating=stars) for r, stars in zip(made.reviews, ratings, strict=True)]
    assert star_mae(replace(made, reviews=reviews)) is None
    assert star_mae(replace(found, reviews=reviews)) == pytest.approx((1.5 + 2) / 2)
