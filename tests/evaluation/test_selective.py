from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelsense.bundle import Threshold
from reelsense.evaluation.metrics import share
from reelsense.evaluation.selective import (
    Decided,
    accuracy_by_coverage,
    decided_shares,
    surest_accuracy,
)
from tests import tiny
from tests.conftest import LABELS
from tests.evaluation.test_judged import judged

TEN = judged(
    ("positive", 0.99),
    ("negative", 0.98),  # wrong
    ("negative", 0.05),
    ("positive", 0.9),
    ("positive", 0.85),
    ("negative", 0.2),
    ("positive", 0.3),  # wrong
    ("negative", 0.35),
    ("positive", 0.6),
    ("negative", 0.55),  # wrong
)


def test_decided_shares_by_hand() -> None:
    thresholds = (
        Threshold(0.01, None),
        Threshold(0.1, 0.999),
        Threshold(0.2, 0.9),
        Threshold(0.25, 0.9),
        Threshold(0.3, 0.0),
    )
    found = decided_shares(TEN, replace(tiny.RISKS, thresholds=thresholds))
    assert [(each.risk, each.threshold) for each in found] == [
        (each.risk, each.score) for each in thresholds
    ]
    assert [(each.decided.count, each.decided.total) for each in found] == [
        (0, 10), (0, 10), (4, 10), (4, 10), (10, 10)
    ]  # fmt: skip
    assert [(each.wrong.count, each.wrong.total) for each in found] == [
        (0, 0), (0, 0), (1, 4), (1, 4), (3, 10)
    ]  # fmt: skip
    assert [each.kept for each in found] == [None] * 5


@pytest.mark.parametrize(("wrong", "kept"), [(50, True), (100, None), (150, False)])
def test_a_risk_is_kept_or_broken_where_the_interval_says_so(wrong: int, kept: bool | None) -> None:
    assert Decided(0.1, 0.5, share(1000, 1000), share(wrong, 1000)).kept is kept


def test_the_surest_answers() -> None:
    assert (surest_accuracy(TEN).count, surest_accuracy(TEN).total) == (6, 8)
    assert surest_accuracy(TEN, 0.1).value == 1
    assert surest_accuracy(TEN, 0.2).value == 0.5
    assert surest_accuracy(TEN, 1).value == 0.7


def test_accuracy_by_coverage_by_hand() -> None:
    coverage, accuracy = accuracy_by_coverage(TEN)
    assert coverage.tolist() == [n / 10 for n in range(1, 11)]
    assert accuracy == pytest.approx(
        [1, 1 / 2, 2 / 3, 3 / 4, 4 / 5, 5 / 6, 5 / 7, 6 / 8, 7 / 9, 0.7]
    )


@given(
    st.lists(
        st.tuples(st.sampled_from(LABELS), st.floats(0, 1)),
        min_size=1,
        max_size=60,
    )
)
def test_the_curve_ends_at_the_accuracy(cases: list[tuple[str, float]]) -> None:
    made = judged(*cases)
    coverage, accuracy = accuracy_by_coverage(made)
    assert len(coverage) == len(accuracy) == len(cases)
    assert (np.diff(coverage) > 0).all()
    assert coverage[-1] == 1
    assert accuracy[-1] == pytest.approx(made.correct.mean())
    for part, value in zip(coverage, accuracy, strict=True):
        assert surest_accuracy(made, part).value == pytest.approx(value)
