from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from reelsense.datasets.reviews import Review
from reelsense.errors import InputError
from reelsense.evaluation.predictions import LabelledPredictions, predict_labelled
from tests import tiny
from tests.conftest import LABELS


def predictions(*cases: tuple[str, float], text: str = "a film") -> LabelledPredictions:
    """Reviews named r0, r1, ...: of each its true label and how positive it was found."""
    reviews = [Review(f"r{n}", text, label, None, str(n)) for n, (label, _) in enumerate(cases)]
    positive = np.array([probability for _, probability in cases])
    targets = np.array([LABELS.index(label) for label, _ in cases])
    return LabelledPredictions(
        reviews, tuple(LABELS), np.stack([1 - positive, positive], axis=1), targets
    )


def review(name: str, text: str, label: str | None) -> Review:
    return Review(name, text, label, rating=None, group=name)


REVIEWS = [
    review("a", "a good film", "positive"),
    review("b", "a film", None),
    review("c", "a great good film", "negative"),
    review("d", "bad", "negative"),
]


@pytest.mark.parametrize("labels", [("negative", "positive"), ("positive", "negative")])
def test_unlabelled_reviews_are_left_out(labels: tuple[str, ...]) -> None:
    """The network's second output is the greater one for "good", whatever it is called."""
    scorer = tiny.classifier(labels)
    found = predict_labelled(scorer, REVIEWS)
    assert found.labels == labels
    assert [one.name for one in found.reviews] == ["a", "c", "d"]
    assert [labels[n] for n in found.targets] == ["positive", "negative", "negative"]
    assert found.predicted.tolist() == [1, 1, 0]
    assert found.correct.tolist() == [n == 1 - labels.index("negative") for n in (1, 0, 1)]
    texts = ["a good film", "a great good film", "bad"]
    assert np.array_equal(found.probabilities, scorer.predict_proba(texts))
    assert found.confidence == pytest.approx([0.881, 0.982, 0.881], abs=0.001)


def test_many_reviews_keep_their_order() -> None:
    """They are scored some at a time."""

    class Lengths:
        labels = tuple(LABELS)
        most = 0

        def predict_proba(self, texts: Sequence[str]) -> NDArray[np.float64]:
            self.most = max(self.most, len(texts))
            return np.array([[1.0, len(text)] for text in texts])

    scorer = Lengths()
    found = predict_labelled(scorer, [review(str(n), "x" * n, "positive") for n in range(1, 701)])
    assert found.probabilities[:, 1].tolist() == list(range(1, 701))
    assert scorer.most < 700


def test_labelled_rejects_unknown_label() -> None:
    odd = [*REVIEWS, review("e", "a film", "mixed"), review("f", "a film", "dull")]
    with pytest.raises(InputError) as raised:
        predict_labelled(tiny.classifier(), odd)
    assert raised.value.code == "unknown-label"


@pytest.mark.parametrize("reviews", [[], [REVIEWS[1]]])
def test_labelled_rejects_reviews_without_labels(reviews: list[Review]) -> None:
    with pytest.raises(InputError) as raised:
        predict_labelled(tiny.classifier(), reviews)
    assert raised.value.code == "no-labels"


def test_a_review_that_cannot_be_read_is_named() -> None:
    """By its name, wherever it stands among the reviews that are scored at a time."""
    reviews = [Review(f"row {n}", "a good film", "positive", None, "g") for n in range(300)]
    reviews.append(Review("row 300", "<br />", "positive", None, "g"))
    with pytest.raises(InputError, match=r"^row 300 contains no readable characters"):
        predict_labelled(tiny.classifier(), reviews)


def test_stars_of_many_reviews_keep_their_order() -> None:
    many = [review(str(n), "good " * (n % 3) + "film", "positive") for n in range(300)]
    scorer = tiny.star_classifier()
    found = predict_labelled(scorer, many)
    assert found.stars is not None
    assert found.stars.tolist() == [each.stars for each in scorer.predict([r.text for r in many])]
    assert predict_labelled(tiny.classifier(), many).stars is None
