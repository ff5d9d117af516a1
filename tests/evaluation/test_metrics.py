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
    """Four answers at 0.9, three right: off by 0.15. Two at 0.6, both right: off by 0.4."""
    positive = np.array([0.9, 0.9, 0.9, 0.9, 0.6, 0.6])
    truth = ["positive", "positive", "positive", "negative", "positive", "positive"]
    found = classification_metrics(
        indices(truth), np.stack([1 - positive, positive], axis=1), LABELS
    )
    assert found.ece == pytest.approx((4 * 0.15 + 2 * 0.4) / 6)


def test_three_labels_have_no_auroc() -> None:
    table = np.array([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]])
    found = classification_metrics(np.array([0, 1, 1]), table, ["a", "b", "c"])
    assert found.auroc is None
    assert found.confusion == [[1, 0, 0], [0, 1, 1], [0, 0, 0]]


def test_one_class_alone_has_no_auroc() -> None:
    assert classification_metrics(np.array([1]), np.array([[0.2, 0.8]]), LABELS).auroc is None


def indices(truth: list[str]) -> np.ndarray:
    return np.array([LABELS.index(label) for label in truth])


@settings(deadline=None)
@given(st.integers(0, 400), st.integers(0, 400))
def test_intervals_hold_the_share_and_narrow(one: int, other: int) -> None:
    count, total = min(one, other), max(one, other)
    found = share(count, total)
    assert 0 <= found.low <= found.value <= found.high + 1e-12 <= 1 + 1e-12 or not total
    assert share(10 * count, 10 * total).high - share(10 * count, 10 * total).low <= (
        found.high - found.low
    )


def test_a_known_interval() -> None:
    """Wilson's interval of 8 in 10, as in Agresti and Coull (1998)."""
    found = share(8, 10)
    assert (round(found.low, 3), round(found.high, 3)) == (0.490, 0.943)
    assert str(found) == "80.0% (49.0% to 94.3%)"
