import numpy as np
import pytest

from reelsense.drift.accuracy import estimated_accuracy
from tests.drift.synthetic import MANIFEST, make_rows


def test_estimated_accuracy_contains_the_accuracy_of_calibrated_predictions() -> None:
    inside = 0
    for seed in range(200):
        rows = make_rows(300, seed)
        correct = np.random.default_rng(seed).random(300) < rows["confidence"]
        found = estimated_accuracy(MANIFEST.labels, rows, "none")
        inside += found.low <= correct.mean() <= found.high
    assert 180 <= inside <= 199  # 190 are expected


def test_estimated_precision_is_that_of_each_predicted_label() -> None:
    rows = make_rows(3)
    rows["label"], rows["confidence"] = [0, 1, 1], [0.6, 0.8, 1.0]
    found = estimated_accuracy(MANIFEST.labels, rows, "none")
    assert found.value == pytest.approx(0.8)
    assert found.precision == pytest.approx({"negative": 0.6, "positive": 0.9})
    rows["label"] = 0
    assert set(estimated_accuracy(MANIFEST.labels, rows, "none").precision) == {"negative"}
