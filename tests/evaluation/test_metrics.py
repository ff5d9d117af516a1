import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelsense.evaluation.metrics import classification_metrics, share

LABELS = ("negative", "positive")


def test_classification_metrics_by_hand() -> None:
    """Three of four are correct: F1 is 0.8 for "positive" and 2/3 for "negative"."""
    positive = np.array([0.9, 0.8, 0.6, 0.3])
    probabilities = np.stack([1 - positive, positive], axis=1)
    metrics = classification_metrics(np.array([1, 1, 0, 0]), probabilities, LABELS)
    assert metrics.accuracy == 0.75
    assert metrics.macro_f1 == pytest.approx((0.8 + 2 / 3) / 2)
    assert metrics.auroc == 1
    assert metrics.log_loss == pytest.approx(-np.log([0.9, 0.8, 0.4, 0.7]).mean())
    assert metrics.confusion == [[1, 1], [0, 2]]


def test_calibration_error_by_hand() -> None:
    """Three of four correct at 0.9: error 0.15. Two of two at 0.6: error 0.4."""
    positive = np.array([0.9, 0.9, 0.9, 0.9, 0.6, 0.6])
    truth = ["positive", "positive", "positive", "negative", "positive", "positive"]
    metrics = classification_metrics(
        indices(truth), np.stack([1 - positive, positive], axis=1), LABELS
    )
    assert metrics.ece == pytest.approx((4 * 0.15 + 2 * 0.4) / 6)


def test_auroc_is_none_for_three_labels() -> None:
    table = np.array([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]])
    metrics = classification_metrics(np.array([0, 1, 1]), table, ["a", "b", "c"])
    assert metrics.auroc is None
    assert metrics.confusion == [[1, 0, 0], [0, 1, 1], [0, 0, 0]]


def test_auroc_is_none_for_a_single_class() -> None:
    assert classification_metrics(np.array([1]), np.array([[0.2, 0.8]]), LABELS).auroc is None


def indices(truth: list[str]) -> np.ndarray:
    return np.array([LABELS.index(label) for label in truth])


@settings(deadline=None)
@given(st.integers(0, 400), st.integers(0, 400))
def test_share_interval_contains_the_share_and_narrows(one: int, other: int) -> None:
    count, total = min(one, other), max(one, other)
    interval = share(count, total)
    assert 0 <= interval.low <= interval.value <= interval.high + 1e-12 <= 1 + 1e-12 or not total
    assert share(10 * count, 10 * total).high - share(10 * count, 10 * total).low <= (
        interval.high - interval.low
    )


def test_share_known_interval() -> None:
    """Wilson's interval of 8 in 10, as in Agresti and Coull (1998)."""
    interval = share(8, 10)
    assert (round(interval.low, 3), round(interval.high, 3)) == (0.490, 0.943)
    assert str(interval) == "80.0% (49.0% to 94.3%)"
