from __future__ import annotations

from dataclasses import replace

import pytest

from reelsense.evaluation.evaluate import compare
from tests.evaluation.test_predictions import predictions

# Nine that only the first gets right, one that only the other does; both, and neither.
THIS = predictions(
    *[("positive", 0.9)] * 9, ("negative", 0.7), ("negative", 0.1), ("positive", 0.2)
)
OTHER = predictions(
    *[("positive", 0.3)] * 9, ("negative", 0.4), ("negative", 0.2), ("positive", 0.4)
)


def test_mcnemar_by_hand() -> None:
    """Ten or more uneven of ten, either way: 2 * (1 + 10) / 2**10."""
    found = compare(THIS, OTHER, "other")
    assert (found.only_this_right, found.only_other_right) == (9, 1)
    assert found.p_value == pytest.approx(22 / 1024)
    assert found.name == "other"
    assert found.metrics.accuracy == pytest.approx(2 / 12)
    turned = compare(OTHER, THIS, "this")
    assert (turned.only_this_right, turned.only_other_right) == (1, 9)
    assert turned.p_value == found.p_value
    assert turned.metrics.accuracy == pytest.approx(10 / 12)


def test_equal_models() -> None:
    found = compare(THIS, THIS, "itself")
    assert (found.only_this_right, found.only_other_right, found.p_value) == (0, 0, 1.0)


def test_the_other_may_have_its_labels_in_another_order() -> None:
    labels, turned = OTHER.labels[::-1], OTHER.probabilities[:, ::-1]
    found = compare(
        THIS, replace(OTHER, labels=labels, probabilities=turned, targets=1 - OTHER.targets), "x"
    )
    assert found.p_value == pytest.approx(22 / 1024)
    assert found.metrics.auroc == pytest.approx(compare(THIS, OTHER, "x").metrics.auroc)
