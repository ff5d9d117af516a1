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
    """Knows every label, is less sure of sentences without an opinion; `wrong` about some."""

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
    found = measure_behaviours(Knowing(), tiny.cautious_classifier().manifest.groups)
    assert {each.errors.count for each in found.errors} == {0}
    assert {each.errors.total for each in found.errors} == {2 * SENTENCES_PER_LABEL}
    assert [each.name for each in found.neutral] == NEUTRAL_NAMES
    assert {each.unsure.value for each in found.neutral} == {1.0}
    assert {each.positive.count for each in found.neutral} == {0}
    with_target = [each.name for each in found.errors if each.target == BEHAVIOUR_TARGET]
    assert with_target == [
        *("double negation", "expectation", "negation", "question", "reported", "then and now"),
    ]
    assert {each.target for each in found.errors if each.name not in with_target} == {None}


def test_measure_behaviours_counts_wrong_labels() -> None:
    found = {each.name: each for each in measure_behaviours(Knowing("Full marks."), []).errors}
    wrong = [text for text in LABELS if "Full marks." in text]
    assert found["ratings"].errors.count == found["ratings"].on_positive.count == len(wrong) > 0
    assert found["ratings"].on_positive.total == SENTENCES_PER_LABEL
    assert found["ratings"].on_negative.count == found["negation"].errors.count == 0


@pytest.mark.parametrize(("threshold", "unsure"), [(0.5, 0.0), (0.6, 1.0), (None, 1.0)])
def test_measure_behaviours_counts_unsure_at_the_target_error_rate(
    threshold: float | None, unsure: float
) -> None:
    thresholds = (Threshold(0.02, threshold), Threshold(0.1, 0.0))
    group = LengthGroup(name="all", max_tokens=None, thresholds=thresholds)
    found = measure_behaviours(Knowing(), [group]).neutral
    assert {each.unsure.value for each in found} == {unsure}
    assert {each.positive.value for each in found} == {1 - unsure}


def test_measure_behaviours_has_no_neutral_sentences_without_thresholds() -> None:
    assert measure_behaviours(Knowing(), []).neutral == []
