import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from reelsense.inference.calibration import probabilities


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
