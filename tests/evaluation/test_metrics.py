import numpy as np
import pytest

from reelsense.evaluation.metrics import classification_metrics

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
