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
    """Return reviews r0, r1, ... with true label and predicted probability of "positive"."""
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
def test_predict_labelled_ignores_unlabelled_reviews(labels: tuple[str, ...]) -> None:
    """The second output of the network is larger for "good", whatever its label."""
    scorer = tiny.classifier(labels)
    result = predict_labelled(scorer, REVIEWS)
    assert result.labels == labels
    assert [row.name for row in result.reviews] == ["a", "c", "d"]
    assert [labels[n] for n in result.targets] == ["positive", "negative", "negative"]
    assert result.predicted.tolist() == [1, 1, 0]
    assert result.correct.tolist() == [n == 1 - labels.index("negative") for n in (1, 0, 1)]
    texts = ["a good film", "a great good film", "bad"]
    assert np.array_equal(result.probabilities, scorer.predict_proba(texts))
    assert result.confidence == pytest.approx([0.881, 0.982, 0.881], abs=0.001)


def test_predict_labelled_keeps_the_order_of_many_reviews() -> None:
    class Lengths:
        labels = tuple(LABELS)
        largest_batch = 0

        def predict_proba(self, texts: Sequence[str]) -> NDArray[np.float64]:
            self.largest_batch = max(self.largest_batch, len(texts))
            return np.array([[1.0, len(text)] for text in texts])

    scorer = Lengths()
    result = predict_labelled(scorer, [review(str(n), "x" * n, "positive") for n in range(1, 701)])
    assert result.probabilities[:, 1].tolist() == list(range(1, 701))
    assert scorer.largest_batch < 700


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


def test_predict_labelled_names_unreadable_review() -> None:
    reviews = [Review(f"row {n}", "a good film", "positive", None, "g") for n in range(300)]
    reviews.append(Review("row 300", "<br />", "positive", None, "g"))
    with pytest.raises(InputError, match=r"^row 300 ") as raised:
        predict_labelled(tiny.classifier(), reviews)
    assert raised.value.code == "unreadable"


def test_predict_labelled_keeps_the_order_of_stars() -> None:
    many = [review(str(n), "good " * (n % 3) + "film", "positive") for n in range(300)]
    scorer = tiny.star_classifier()
    result = predict_labelled(scorer, many)
    assert result.stars is not None
    assert result.stars.tolist() == [
        prediction.stars for prediction in scorer.predict([r.text for r in many])
    ]
    assert predict_labelled(tiny.classifier(), many).stars is None
