from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from reelsense.evaluation import selective
from reelsense.evaluation.selective import RISKS, find_thresholds

Cases = st.lists(st.tuples(st.floats(0.5, 1), st.booleans()), max_size=300)


def answers(*parts: tuple[int, float, bool]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """So many answers of each probability, right or wrong."""
    scores = np.concatenate([np.full(count, score) for count, score, _ in parts])
    correct = np.concatenate([np.full(count, right) for count, _, right in parts])
    return scores, correct


def by_risk(scores: NDArray[np.float64], correct: NDArray[np.bool_]) -> dict[float, float | None]:
    return {each.risk: each.score for each in find_thresholds(scores, correct)}


def test_find_thresholds_breaks_the_risk_as_seldom_as_promised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At any threshold a little more than the risk is wrong: to find one is the mistake."""
    monkeypatch.setattr(selective, "RISKS", (0.1,))
    draws = 2000
    broken = 0
    for seed in range(draws):
        random = np.random.default_rng(seed)
        scores, correct = random.uniform(0.5, 1, 1000), random.random(1000) > 0.1005
        broken += find_thresholds(scores, correct)[0].score is not None
    # 5 % at most; at a confidence of 85 %, more than 6 % of these draws are broken.
    assert 0.01 < broken / draws < 0.05


def test_find_thresholds_reaches_the_risk_of_a_fair_model() -> None:
    """Calibrated answers, spread evenly: those from 0.8 on are wrong in 10 % of the cases."""
    random = np.random.default_rng(0)
    scores = random.uniform(0.5, 1, 20_000)
    found = by_risk(scores, random.random(20_000) < scores)
    assert found[0.1] == pytest.approx(0.81, abs=0.015)


def test_find_thresholds_by_hand() -> None:
    """All right from 0.97 on, all wrong below: 0.97 or a little less is the threshold of each."""
    found = by_risk(*answers((2000, 0.97, True), (300, 0.6, False)))
    assert found[0.005] is None  # the sequence starts where nothing is decided
    assert found[0.02] == found[0.05] == pytest.approx(0.601)
    assert found[0.2] == 0.0


def test_find_thresholds_goes_on_at_the_whole_level_below_the_second_start() -> None:
    """1 wrong of 240 has a p-value of 0.046: above the first start's share of the level, 0.04."""
    sure, less = (200, 0.985, True), (39, 0.955, True)
    found = by_risk(*answers(sure, less, (1, 0.955, False), (300, 0.6, False)))
    assert found[0.02] == pytest.approx(0.601)
    found = by_risk(*answers(sure, (39, 0.97, True), (1, 0.97, False), (300, 0.6, False)))
    assert found[0.02] == pytest.approx(0.971)  # and it is too much above that start


def test_find_thresholds_tries_the_second_start_if_the_first_fails() -> None:
    """Nothing is decided at 0.98; at 0.96 the level is 0.01, for which 229 right answers do."""
    assert by_risk(*answers((230, 0.97, True), (99, 0.6, False)))[0.02] == pytest.approx(0.601)
    assert by_risk(*answers((225, 0.97, True), (99, 0.6, False)))[0.02] is None


def test_find_thresholds_decides_nothing_with_a_bad_model() -> None:
    random = np.random.default_rng(0)
    scores = random.uniform(0.5, 1, 3000)
    assert set(by_risk(scores, random.random(3000) < 0.5).values()) == {None}


@given(Cases)
@settings(max_examples=50)
def test_find_thresholds_never_decides_less_at_a_higher_risk(
    cases: list[tuple[float, bool]],
) -> None:
    scores = np.array([score for score, _ in cases])
    found = find_thresholds(scores, np.array([right for _, right in cases], dtype=bool))
    assert [each.risk for each in found] == list(RISKS)
    least = [np.inf if each.score is None else each.score for each in found]
    assert least == sorted(least, reverse=True)


@given(Cases, st.randoms(use_true_random=False))
@settings(max_examples=50)
def test_find_thresholds_does_not_depend_on_the_order_of_the_answers(
    cases: list[tuple[float, bool]], random: object
) -> None:
    shuffled = list(cases)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis gives a random.Random
    first, second = (
        find_thresholds(
            np.array([score for score, _ in some]), np.array([right for _, right in some], bool)
        )
        for some in (cases, shuffled)
    )
    assert first == second
