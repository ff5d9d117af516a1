from __future__ import annotations

from dataclasses import replace

import pytest

from reelsense.evaluation.evaluate import compare
from tests.evaluation.test_predictions import predictions

# Nine that only THIS predicts correctly, one that only OTHER does, one both, one neither.
THIS = predictions(
    *[("positive", 0.9)] * 9, ("negative", 0.7), ("negative", 0.1), ("positive", 0.2)
)
OTHER = predictions(
    *[("positive", 0.3)] * 9, ("negative", 0.4), ("negative", 0.2), ("positive", 0.4)
)


def test_compare_by_hand() -> None:
    """Nine or more of ten disagreements, two-sided: 2 * (1 + 10) / 2**10."""
    comparison = compare(THIS, OTHER, "other")
    assert (comparison.only_this_right, comparison.only_other_right) == (9, 1)
    assert comparison.p_value == pytest.approx(22 / 1024)
    assert comparison.name == "other"
    assert comparison.metrics.accuracy == pytest.approx(2 / 12)
    reversed_ = compare(OTHER, THIS, "this")
    assert (reversed_.only_this_right, reversed_.only_other_right) == (1, 9)
    assert reversed_.p_value == comparison.p_value
    assert reversed_.metrics.accuracy == pytest.approx(10 / 12)


def test_compare_equal_models() -> None:
    comparison = compare(THIS, THIS, "itself")
    assert (comparison.only_this_right, comparison.only_other_right) == (0, 0)
    assert comparison.p_value == 1


def test_compare_with_another_order_of_labels() -> None:
    labels, reversed_ = OTHER.labels[::-1], OTHER.probabilities[:, ::-1]
    comparison = compare(
        THIS, replace(OTHER, labels=labels, probabilities=reversed_, targets=1 - OTHER.targets), "x"
    )
    assert comparison.p_value == pytest.approx(22 / 1024)
    assert comparison.metrics.auroc == pytest.approx(compare(THIS, OTHER, "x").metrics.auroc)
