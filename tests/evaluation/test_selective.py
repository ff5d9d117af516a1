from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelsense.bundle import LengthGroup, Threshold
from reelsense.evaluation.metrics import share
from reelsense.evaluation.selective import (
    accuracy_at_coverage,
    accuracy_by_coverage,
    selective_by_length,
    selective_results,
)
from reelsense.report.results import SelectiveResult
from tests.conftest import LABELS
from tests.evaluation.test_predictions import predictions

TEN = predictions(
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


def test_selective_results_by_hand() -> None:
    thresholds = (
        Threshold(0.01, None),
        Threshold(0.1, 0.999),
        Threshold(0.2, 0.9),
        Threshold(0.25, 0.9),
        Threshold(0.3, 0.0),
    )
    group = LengthGroup(name="all", max_tokens=None, thresholds=thresholds)
    results = selective_results(TEN, [group])
    assert [(row.risk, row.thresholds) for row in results] == [
        (row.risk, (row.score,)) for row in thresholds
    ]
    assert [row.reachable for row in results] == [False, True, True, True, True]
    assert selective_by_length(TEN, [group]) == []
    assert [(row.coverage.count, row.coverage.total) for row in results] == [
        (0, 10), (0, 10), (4, 10), (4, 10), (10, 10)
    ]  # fmt: skip
    assert [(row.selective_error.count, row.selective_error.total) for row in results] == [
        (0, 0), (0, 0), (1, 4), (1, 4), (3, 10)
    ]  # fmt: skip
    assert [row.meets_target for row in results] == [None] * 5


SHORT = LengthGroup(
    name="sentence", max_tokens=4, thresholds=(Threshold(0.1, None), Threshold(0.3, 0.8))
)
LONG = LengthGroup(
    name="long", max_tokens=None, thresholds=(Threshold(0.1, 0.9), Threshold(0.3, 0.0))
)


def test_selective_results_use_the_thresholds_of_the_length_group() -> None:
    counted = replace(TEN, tokens=np.array([4, 4, 4, 4, 4, 5, 5, 5, 5, 99]))
    overall = selective_results(counted, [SHORT, LONG])
    assert [(r.thresholds, r.coverage.count, r.selective_error.count) for r in overall] == [
        ((None, 0.9), 0, 0), ((0.8, 0.0), 10, 3)
    ]  # fmt: skip
    sentence, long = selective_by_length(counted, [SHORT, LONG])
    assert (sentence.name, sentence.max_tokens) == ("sentence", 4)
    assert [(row.thresholds, row.coverage.total) for row in sentence.results] == [
        ((None,), 5), ((0.8,), 5)
    ]  # fmt: skip
    assert [row.reachable for row in sentence.results] == [False, True]
    assert [(row.coverage.count, row.selective_error.count) for row in sentence.results] == [
        (0, 0), (5, 1)
    ]  # fmt: skip
    assert [(row.coverage.count, row.selective_error.count) for row in long.results] == [
        (0, 0),
        (5, 2),
    ]


def test_selective_by_length_skips_groups_without_texts() -> None:
    counted = replace(TEN, tokens=np.full(10, 3))
    assert [group.name for group in selective_by_length(counted, [SHORT, LONG])] == ["sentence"]
    assert [row.thresholds for row in selective_results(counted, [SHORT, LONG])] == [
        (None,), (0.8,)
    ]  # fmt: skip


def test_texts_without_token_count_belong_to_the_last_group() -> None:
    assert [group.name for group in selective_by_length(TEN, [SHORT, LONG])] == ["long"]


def test_selective_results_without_groups_are_empty() -> None:
    assert selective_results(TEN, []) == []
    assert selective_by_length(TEN, []) == []


@pytest.mark.parametrize(("wrong", "kept"), [(50, True), (100, None), (150, False)])
def test_meets_target_depends_on_the_confidence_interval(wrong: int, kept: bool | None) -> None:
    assert SelectiveResult(0.1, (0.5,), share(1000, 1000), share(wrong, 1000)).meets_target is kept


def test_accuracy_at_coverage_by_hand() -> None:
    assert (accuracy_at_coverage(TEN, 0.8).count, accuracy_at_coverage(TEN, 0.8).total) == (6, 8)
    assert accuracy_at_coverage(TEN, 0.1).value == 1
    assert accuracy_at_coverage(TEN, 0.2).value == 0.5
    assert accuracy_at_coverage(TEN, 1).value == 0.7


def test_accuracy_by_coverage_by_hand() -> None:
    coverage, accuracy = accuracy_by_coverage(TEN)
    assert coverage.tolist() == [n / 10 for n in range(1, 11)]
    assert accuracy == pytest.approx(
        [1, 1 / 2, 2 / 3, 3 / 4, 4 / 5, 5 / 6, 5 / 7, 6 / 8, 7 / 9, 0.7]
    )


@given(st.lists(st.tuples(st.sampled_from(LABELS), st.floats(0, 1)), min_size=1, max_size=60))
@settings(deadline=None)
def test_accuracy_by_coverage_ends_at_the_accuracy(cases: list[tuple[str, float]]) -> None:
    all_predictions = predictions(*cases)
    coverage, accuracy = accuracy_by_coverage(all_predictions)
    assert len(coverage) == len(accuracy) == len(cases)
    assert (np.diff(coverage) > 0).all()
    assert coverage[-1] == 1
    assert accuracy[-1] == pytest.approx(all_predictions.correct.mean())
    for part, value in zip(coverage, accuracy, strict=True):
        assert accuracy_at_coverage(all_predictions, part).value == pytest.approx(value)
