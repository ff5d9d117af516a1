from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelsense.bundle import Calibration, Manifest, RiskControl
from reelsense.errors import InputError
from reelsense.inference.calibration import (
    expected_stars,
    least_score,
    probabilities,
    verdict,
)
from tests import tiny


@given(st.lists(st.tuples(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4)), min_size=1, max_size=20))
def test_rows_are_probabilities_in_the_order_of_the_logits(rows: list[tuple[float, float]]) -> None:
    logits = np.array(rows)
    found = probabilities(logits)
    assert np.allclose(found.sum(axis=1), 1)
    assert (found >= 0).all()
    sure = np.abs(logits[:, 0] - logits[:, 1]) > 1e-9
    assert ((found[:, 1] >= found[:, 0]) == (logits[:, 1] >= logits[:, 0]))[sure].all()


def test_known_values() -> None:
    assert np.allclose(probabilities(np.array([[0.0, np.log(3)]])), [[0.25, 0.75]])


@given(st.integers(1, 9), st.floats(0.1, 10), st.floats(-1, 1))
def test_calibration_never_changes_the_label(windows: int, heat: float, exponent: float) -> None:
    logits = np.array([[0.3, -1.0, 2.0], [5.0, 4.9, -5.0]])
    fitted = Calibration(temperature=heat, window_exponent=exponent)
    found = probabilities(logits, [windows, 1], fitted)
    assert found.argmax(axis=1).tolist() == [2, 0]
    assert np.allclose(found.sum(axis=1), 1)


def test_a_temperature_and_the_windows_of_a_text() -> None:
    logits = np.array([[0.0, 2.0], [0.0, 2.0]])
    found = probabilities(logits, [1, 4], Calibration(temperature=2.0, window_exponent=0.5))
    assert found[:, 1] == pytest.approx([1 / (1 + np.exp(-1)), 1 / (1 + np.exp(-2))])


def manifest(control: RiskControl | None = tiny.RISKS) -> Manifest:
    return Manifest(name="tiny", labels=("no", "yes"), window=16, risk_control=control)


@pytest.mark.parametrize(
    ("risk", "least"),
    [(None, 0.9), (0.02, 0.9), (0.05, 0.9), (0.1, 0.0), (0.5, 0.0), (0.01, None), (0.001, None)],
)
def test_the_threshold_of_the_highest_risk_that_is_no_higher(
    risk: float | None, least: float | None
) -> None:
    assert least_score(manifest(), risk) == least


def test_without_thresholds_everything_is_decided_unless_a_risk_is_named() -> None:
    assert least_score(manifest(None), None) == 0
    with pytest.raises(InputError, match="reelsense calibrate"):
        least_score(manifest(None), 0.02)
    assert least_score(manifest(replace(tiny.RISKS, default_risk=None)), None) == 0


@pytest.mark.parametrize("risk", [0, 1, -0.1, 2, float("nan")])
def test_a_risk_that_is_none(risk: float) -> None:
    with pytest.raises(InputError, match="above 0 and below 1"):
        least_score(manifest(), risk)


def test_verdicts() -> None:
    assert verdict("yes", 0.9, 0.9) == "yes"
    assert verdict("yes", 0.89, 0.9) == "unsure"
    assert verdict("yes", 1.0, None) == "unsure"


def test_expected_stars() -> None:
    logits = np.array([[0.0, np.log(3)], [5.0, 5.0], [1e4, 0.0]])
    assert expected_stars(logits, (2, 10)).tolist() == pytest.approx([8, 6, 2])
    assert expected_stars(np.empty((0, 2)), (2, 10)).shape == (0,)
