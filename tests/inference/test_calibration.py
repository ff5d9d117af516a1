from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelsense.bundle import Calibration, LengthGroup, Manifest, RiskControl
from reelsense.errors import InputError
from reelsense.inference.calibration import (
    decision_thresholds,
    expected_stars,
    group_numbers,
    probabilities,
    probabilities_by_group,
    verdict,
)
from tests import tiny


@given(st.lists(st.tuples(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4)), min_size=1, max_size=20))
def test_probabilities_sum_to_one_and_keep_the_order_of_logits(
    rows: list[tuple[float, float]],
) -> None:
    logits = np.array(rows)
    result = probabilities(logits)
    assert np.allclose(result.sum(axis=1), 1)
    assert (result >= 0).all()
    distinct = np.abs(logits[:, 0] - logits[:, 1]) > 1e-9
    assert ((result[:, 1] >= result[:, 0]) == (logits[:, 1] >= logits[:, 0]))[distinct].all()


def test_probabilities_are_the_softmax() -> None:
    assert np.allclose(probabilities(np.array([[0.0, np.log(3)]])), [[0.25, 0.75]])


@given(st.integers(1, 9), st.floats(0.1, 10), st.floats(-1, 1))
def test_calibration_never_changes_the_label(
    windows: int, temperature: float, exponent: float
) -> None:
    logits = np.array([[0.3, -1.0, 2.0], [5.0, 4.9, -5.0]])
    calibration = Calibration(temperature=temperature, window_exponent=exponent)
    result = probabilities(logits, [windows, 1], calibration)
    assert result.argmax(axis=1).tolist() == [2, 0]
    assert np.allclose(result.sum(axis=1), 1)


def test_probabilities_scale_by_temperature_and_windows() -> None:
    logits = np.array([[0.0, 2.0], [0.0, 2.0]])
    result = probabilities(logits, [1, 4], Calibration(temperature=2.0, window_exponent=0.5))
    assert result[:, 1] == pytest.approx([1 / (1 + np.exp(-1)), 1 / (1 + np.exp(-2))])


def manifest(control: RiskControl | None = tiny.RISKS) -> Manifest:
    return Manifest(name="tiny", labels=("no", "yes"), window=16, risk_control=control)


@pytest.mark.parametrize(
    ("risk", "threshold"),
    [(None, 0.9), (0.02, 0.9), (0.05, 0.9), (0.1, 0.0), (0.5, 0.0), (0.01, None), (0.001, None)],
)
def test_decision_threshold_is_that_of_the_next_lower_listed_risk(
    risk: float | None, threshold: float | None
) -> None:
    assert decision_thresholds(manifest(), risk) == (threshold,)


def test_decision_threshold_without_risk_control() -> None:
    assert decision_thresholds(manifest(None), None) == (0,)
    with pytest.raises(InputError) as caught:
        decision_thresholds(manifest(None), 0.02)
    assert caught.value.code == "no-thresholds"
    never_unsure = replace(tiny.RISKS, default_risk=None)
    assert decision_thresholds(manifest(never_unsure), None) == (0,)


@pytest.mark.parametrize("risk", [0, 1, -0.1, 2, float("nan")])
def test_decision_thresholds_reject_invalid_risk(risk: float) -> None:
    with pytest.raises(InputError) as caught:
        decision_thresholds(manifest(), risk)
    assert caught.value.code == "invalid-risk"


def test_verdict_is_unsure_below_the_threshold() -> None:
    assert verdict("yes", 0.9, 0.9) == "yes"
    assert verdict("yes", 0.89, 0.9) == "unsure"
    assert verdict("yes", 1.0, None) == "unsure"


def test_expected_stars() -> None:
    logits = np.array([[0.0, np.log(3)], [5.0, 5.0], [1e4, 0.0]])
    assert expected_stars(logits, (2, 10)).tolist() == pytest.approx([8, 6, 2])
    assert expected_stars(np.empty((0, 2)), (2, 10)).shape == (0,)


GROUPED = tiny.grouped_bundle().manifest


@pytest.mark.parametrize(
    ("risk", "thresholds"),
    [(None, (None, 0.9)), (0.02, (None, 0.9)), (0.1, (0.7, 0.0)), (0.001, (None, None))],
)
def test_decision_thresholds_are_those_of_each_length_group(
    risk: float | None, thresholds: tuple[float | None, ...]
) -> None:
    assert decision_thresholds(GROUPED, risk) == thresholds


def test_group_numbers_include_the_bound() -> None:
    short = LengthGroup(name="short", max_tokens=8)
    groups = (*GROUPED.length_groups, short, GROUPED.groups[-1])
    tokens = [1, 4, 5, 8, 9, 10**6]
    assert group_numbers(groups, tokens).tolist() == [0, 0, 1, 1, 2, 2]
    assert group_numbers(GROUPED.groups[-1:], tokens).tolist() == [0] * 6
    assert int(group_numbers(groups, 5)) == 1


Texts = st.lists(
    st.tuples(st.floats(-9, 9), st.integers(1, 5), st.integers(1, 9)), min_size=1, max_size=30
)


@given(Texts)
def test_probabilities_by_group_do_not_depend_on_other_texts(
    texts: list[tuple[float, int, int]],
) -> None:
    logits = np.array([[0.0, margin] for margin, _, _ in texts])
    windows, tokens = (np.array(column) for column in list(zip(*texts, strict=True))[1:])
    groups = group_numbers(GROUPED.groups, tokens)
    calibrations = [group.calibration for group in GROUPED.groups]
    result = probabilities_by_group(logits, windows, groups, calibrations)
    for n, (_, count, length) in enumerate(texts):
        one = slice(n, n + 1)
        expected = probabilities(logits[one], count, calibrations[length > 4])
        assert np.array_equal(result[one], expected)
