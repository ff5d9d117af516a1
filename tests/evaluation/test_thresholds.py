from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from reelsense.evaluation import selective
from reelsense.evaluation.selective import RISKS, find_thresholds

Cases = st.lists(st.tuples(st.floats(0.5, 1), st.booleans()), max_size=300)


def predictions(*parts: tuple[int, float, bool]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return predictions: their number, probability and whether they are correct."""
    scores = np.concatenate([np.full(count, score) for count, score, _ in parts])
    correct = np.concatenate([np.full(count, right) for count, _, right in parts])
    return scores, correct


def by_risk(scores: NDArray[np.float64], correct: NDArray[np.bool_]) -> dict[float, float | None]:
    return {threshold.risk: threshold.score for threshold in find_thresholds(scores, correct)}


def test_find_thresholds_keeps_its_confidence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The error rate is slightly above the target everywhere: any threshold is an error."""
    monkeypatch.setattr(selective, "RISKS", (0.1,))
    draws = 2000
    errors = 0
    for seed in range(draws):
        random = np.random.default_rng(seed)
        scores, correct = random.uniform(0.5, 1, 1000), random.random(1000) > 0.1005
        errors += find_thresholds(scores, correct)[0].score is not None
    # 5 % at most; at a confidence of 85 %, more than 6 % of these draws are errors.
    assert 0.01 < errors / draws < 0.05


def test_find_thresholds_of_calibrated_predictions() -> None:
    """Uniform calibrated predictions: those from 0.8 on are wrong in 10 % of the cases."""
    random = np.random.default_rng(0)
    scores = random.uniform(0.5, 1, 20_000)
    thresholds = by_risk(scores, random.random(20_000) < scores)
    assert thresholds[0.1] == pytest.approx(0.81, abs=0.015)


def test_find_thresholds_by_hand() -> None:
    """All are correct from 0.97 on, and wrong below."""
    thresholds = by_risk(*predictions((2000, 0.97, True), (300, 0.6, False)))
    assert thresholds[0.005] is None  # the sequence starts where nothing is decided
    assert thresholds[0.02] == thresholds[0.05] == pytest.approx(0.601)
    assert thresholds[0.2] == 0.0


def test_find_thresholds_uses_the_full_level_below_the_second_start() -> None:
    """1 wrong of 240 has a p-value of 0.046: above the first start's share of the level, 0.04."""
    confident, less_confident = (200, 0.985, True), (39, 0.955, True)
    thresholds = by_risk(
        *predictions(confident, less_confident, (1, 0.955, False), (300, 0.6, False))
    )
    assert thresholds[0.02] == pytest.approx(0.601)
    thresholds = by_risk(
        *predictions(confident, (39, 0.97, True), (1, 0.97, False), (300, 0.6, False))
    )
    assert thresholds[0.02] == pytest.approx(0.971)  # but not above that start


def test_find_thresholds_continues_at_the_second_start() -> None:
    """Coverage is 0 at 0.98; at 0.96 the level is 0.01, for which 229 correct ones suffice."""
    assert by_risk(*predictions((230, 0.97, True), (99, 0.6, False)))[0.02] == pytest.approx(0.601)
    assert by_risk(*predictions((225, 0.97, True), (99, 0.6, False)))[0.02] is None


def test_find_thresholds_of_a_random_model_are_unreachable() -> None:
    random = np.random.default_rng(0)
    scores = random.uniform(0.5, 1, 3000)
    assert set(by_risk(scores, random.random(3000) < 0.5).values()) == {None}


@given(Cases)
@settings(max_examples=50)
def test_find_thresholds_decrease_with_the_target_error_rate(
    cases: list[tuple[float, bool]],
) -> None:
    scores = np.array([score for score, _ in cases])
    thresholds = find_thresholds(scores, np.array([right for _, right in cases], dtype=bool))
    assert [threshold.risk for threshold in thresholds] == list(RISKS)
    lowest = [np.inf if threshold.score is None else threshold.score for threshold in thresholds]
    assert lowest == sorted(lowest, reverse=True)


@given(Cases, st.randoms(use_true_random=False))
@settings(max_examples=50)
def test_find_thresholds_does_not_depend_on_the_order_of_the_predictions(
    cases: list[tuple[float, bool]], random: object
) -> None:
    shuffled = list(cases)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis gives a random.Random
    first, second = (
        find_thresholds(
            np.array([score for score, _ in order]), np.array([right for _, right in order], bool)
        )
        for order in (cases, shuffled)
    )
    assert first == second
