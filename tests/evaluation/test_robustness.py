from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from reelsense.datasets.reviews import Review
from reelsense.errors import InputError
from reelsense.evaluation.perturbations import PERTURBATIONS
from reelsense.evaluation.robustness import label_changes, pair_accuracy
from reelsense.report.results import LabelChanges
from tests import tiny

BY_NAME = {perturbation.name: perturbation.change for perturbation in PERTURBATIONS}


class Predicate:
    """Predicts "positive" if `is_positive(text)`."""

    labels = ("negative", "positive")

    def __init__(self, is_positive: Callable[[str], bool]) -> None:
        self.is_positive = is_positive

    def predict_proba(self, texts: Sequence[str]) -> NDArray[np.float64]:
        return np.array([[0.2, 0.8] if self.is_positive(text) else [0.7, 0.3] for text in texts])


def by_name(changes: Sequence[LabelChanges]) -> dict[str, tuple[int, int]]:
    return {row.name: (row.changed.count, row.changed.total) for row in changes}


def test_label_changes_counts_altered_texts() -> None:
    """Upper case and removed apostrophes hide "don't" from the scorer."""
    texts = ["I don't know", "i don't", "plain", "LOUD", "1 2 3"]
    changes = by_name(label_changes(Predicate(lambda text: "don't" in text), texts))
    assert list(changes) == list(BY_NAME)
    assert changes["upper case"] == (2, 3)
    assert changes["lower case"] == (0, 2)
    assert changes["dropped apostrophes"] == (2, 2)
    assert changes["added neutral sentence"] == (0, 5)
    assert changes["swapped names"] == (0, 0)
    assert changes["typos"] == (0, 3)
    assert changes["link and user name"] == changes["repeated 7 times"] == (0, 5)
    assert changes["numbers and places"] == (0, 0)


def test_label_changes_of_an_uncased_model_by_case() -> None:
    changes = by_name(
        label_changes(tiny.classifier(), ["A good film", "Awful", "the bad film was great"])
    )
    assert changes["upper case"] == (0, 3)
    assert changes["lower case"] == (0, 2)


def test_perturbation_does_not_depend_on_other_texts() -> None:
    seen: list[set[str]] = []

    def record(text: str) -> bool:
        seen[-1].add(text)
        return True

    for other in ("Nobody knows anything", "?"):
        seen.append(set())
        label_changes(Predicate(record), ["Anna didn't know a teacher in Rome", other], seed=3)
    shared = seen[0] & seen[1]
    assert len({text for text in shared if "teacher" in text.lower()}) == 1 + len(BY_NAME)
    assert label_changes(Predicate(record), []) == label_changes(Predicate(record), [])


def labelled(*texts: tuple[str, str | None]) -> list[Review]:
    return [Review(text, text, label, None, text) for text, label in texts]


def test_pair_accuracy() -> None:
    originals = labelled(("good", "positive"), ("bad", "negative"), ("not bad", "positive"))
    edits = labelled(("awful", "negative"), ("not good", "negative"), ("bad", "negative"))
    accuracy = pair_accuracy(tiny.classifier(), "edited", originals, edits)
    assert accuracy.name == "edited"
    assert (accuracy.originals.count, accuracy.edits.count, accuracy.both.count) == (2, 2, 1)
    assert accuracy.originals.total == accuracy.edits.total == accuracy.both.total == 3


def test_pair_accuracy_rejects_invalid_pairs() -> None:
    good = labelled(("good", "positive"))
    with pytest.raises(InputError) as unpaired:
        pair_accuracy(tiny.classifier(), "x", good, [])
    assert unpaired.value.code == "unpaired-reviews"
    with pytest.raises(InputError) as unknown:
        pair_accuracy(tiny.classifier(), "x", good, labelled(("bad", "meh")))
    assert unknown.value.code == "unknown-label"
