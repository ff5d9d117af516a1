from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from reelsense.bundle import Bundle
from reelsense.datasets.reviews import Review
from reelsense.errors import InputError
from reelsense.evaluation.calibrate import ValidationSet
from reelsense.evaluation.cascade import fit_threshold, make_cascade
from reelsense.inference.classifier import Classifier
from tests import any_labels, cascades


def rows(confident: list[float]) -> NDArray[np.float64]:
    """Return probabilities of two labels; the values are those of the second."""
    second = np.array(confident)
    return np.stack([1 - second, second], axis=1)


def test_threshold_is_the_lowest_without_loss() -> None:
    first = rows([0.99, 0.95, 0.8, 0.3, 0.45])  # the last two are wrong
    second = rows([0.9] * 5)
    fit = fit_threshold(first, second, np.ones(5, np.int64), margin=0)
    assert fit.threshold == pytest.approx(0.7)
    assert fit.second_share == pytest.approx(0.4)
    assert (fit.accuracy_first, fit.accuracy_second, fit.accuracy) == (0.6, 1.0, 1.0)


def test_margin_allows_a_loss() -> None:
    first = rows([0.99, 0.95, 0.8, 0.3, 0.45])
    fit = fit_threshold(first, rows([0.9] * 5), np.ones(5, np.int64), margin=0.2)
    assert fit.threshold == pytest.approx(0.55)
    assert fit.accuracy == pytest.approx(0.8)


def test_significant_loss_is_rejected_although_the_margin_allows_it() -> None:
    first, second = rows([0.9] * 900 + [0.4] * 100), rows([0.9] * 1000)
    targets = np.ones(1000, np.int64)
    fit = fit_threshold(first, second, targets, margin=0.5)
    assert fit.accuracy == pytest.approx(1.0)
    assert fit.second_share == pytest.approx(0.1)


@given(
    st.lists(
        st.tuples(st.floats(0, 1), st.floats(0, 1), st.integers(0, 1)), min_size=1, max_size=60
    ),
    st.floats(0, 0.5),
)
def test_fit_describes_the_cascade_with_its_threshold(
    texts: list[tuple[float, float, int]], margin: float
) -> None:
    first, second = rows([text[0] for text in texts]), rows([text[1] for text in texts])
    targets = np.array([text[2] for text in texts])
    fit = fit_threshold(first, second, targets, margin)
    confident = first.max(axis=1) > fit.threshold
    answers = np.where(confident, first.argmax(axis=1), second.argmax(axis=1))
    assert fit.accuracy == pytest.approx((answers == targets).mean())
    assert fit.second_share == pytest.approx(1 - confident.mean())
    assert fit.accuracy >= fit.accuracy_second - margin - 1e-9


@pytest.fixture
def models(tmp_path: Path) -> tuple[tuple[str, Bundle], tuple[str, Bundle]]:
    first, second = cascades.write(tmp_path).models
    return ("first", first), ("second", second)


def reviews() -> list[Review]:
    positive = ["good", "great", "a moving film", "great good", "good good"]
    negative = ["bad", "awful", "a dull film", "bad awful", "bad bad"]
    labelled = [(text, "positive") for text in positive] + [(text, "negative") for text in negative]
    return [
        Review(name=str(n), text=text, rating=None, label=label, group=str(n))
        for n, (text, label) in enumerate(labelled * 10)
    ]


def test_make_cascade_asks_the_second_model_about_what_the_first_does_not_know(
    models: tuple[tuple[str, Bundle], tuple[str, Bundle]],
) -> None:
    bundle, fit = make_cascade("both", models, [ValidationSet("mine", reviews())])
    assert fit.accuracy == fit.accuracy_second == 1.0
    assert fit.accuracy_first < 1
    assert fit.second_share == pytest.approx(0.2)
    assert bundle.manifest.risk_control is not None
    assert bundle.manifest.calibration is not None
    assert bundle.manifest.calibration.reviews == len(reviews())
    labels = [p.label for p in Classifier(bundle).predict(["a dull film", "a moving film", "good"])]
    assert labels == ["negative", "positive", "positive"]
    assert "first" in bundle.card
    assert "second" in bundle.card


def test_models_with_other_labels_are_rejected(
    models: tuple[tuple[str, Bundle], tuple[str, Bundle]],
) -> None:
    other = ("tickets", any_labels.bundle())
    with pytest.raises(InputError) as raised:
        make_cascade("both", (models[0], other), [ValidationSet("mine", reviews())])
    assert raised.value.code == "different-labels"
