from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from reelsense.bundle import LengthGroup, Threshold
from reelsense.datasets.behaviours import NEUTRAL, behaviour_sentences
from reelsense.evaluation.robustness import (
    BEHAVIOUR_TARGET,
    SENTENCES_PER_LABEL,
    measure_behaviours,
)
from tests import tiny

LABELS = {
    sentence.text: sentence.label
    for behaviour in behaviour_sentences("measuring", SENTENCES_PER_LABEL)
    for sentence in behaviour.sentences
}
NEUTRAL_NAMES = ["facts", "undecided"]


class Knowing:
    """Predicts the true label, except for texts that contain `wrong`."""

    labels = ("positive", "negative", "other")

    def __init__(self, wrong: str = "no such text") -> None:
        self.wrong = wrong

    def predict_proba(self, texts: Sequence[str]) -> NDArray[np.float64]:
        return np.array([self._row(text) for text in texts])

    def _row(self, text: str) -> list[float]:
        label = LABELS[text]
        if label == NEUTRAL:
            return [0.55, 0.45, 0.0]
        right = self.wrong not in text
        return [0.95, 0.05, 0.0] if (label == "positive") == right else [0.05, 0.95, 0.0]


def test_measure_behaviours_without_errors() -> None:
    results = measure_behaviours(Knowing(), tiny.cautious_classifier().manifest.groups)
    assert {row.errors.count for row in results.errors} == {0}
    assert {row.errors.total for row in results.errors} == {2 * SENTENCES_PER_LABEL}
    assert [row.name for row in results.neutral] == NEUTRAL_NAMES
    assert {row.unsure.value for row in results.neutral} == {1.0}
    assert {row.positive.count for row in results.neutral} == {0}
    with_target = [row.name for row in results.errors if row.target == BEHAVIOUR_TARGET]
    assert with_target == [
        *("double negation", "expectation", "negation", "question", "reported", "then and now"),
    ]
    assert {row.target for row in results.errors if row.name not in with_target} == {None}


def test_measure_behaviours_counts_wrong_labels() -> None:
    results = {row.name: row for row in measure_behaviours(Knowing("Full marks."), []).errors}
    wrong = [text for text in LABELS if "Full marks." in text]
    assert results["ratings"].errors.count == results["ratings"].on_positive.count == len(wrong) > 0
    assert results["ratings"].on_positive.total == SENTENCES_PER_LABEL
    assert results["ratings"].on_negative.count == results["negation"].errors.count == 0


@pytest.mark.parametrize(("threshold", "unsure"), [(0.5, 0.0), (0.6, 1.0), (None, 1.0)])
def test_measure_behaviours_counts_unsure_at_the_target_error_rate(
    threshold: float | None, unsure: float
) -> None:
    thresholds = (Threshold(0.02, threshold), Threshold(0.1, 0.0))
    group = LengthGroup(name="all", max_tokens=None, thresholds=thresholds)
    results = measure_behaviours(Knowing(), [group]).neutral
    assert {row.unsure.value for row in results} == {unsure}
    assert {row.positive.value for row in results} == {1 - unsure}


def test_measure_behaviours_has_no_neutral_sentences_without_thresholds() -> None:
    assert measure_behaviours(Knowing(), []).neutral == []
