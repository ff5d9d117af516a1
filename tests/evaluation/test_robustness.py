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


class Picky:
    """Answers "positive" where `likes` says so."""

    labels = ("negative", "positive")

    def __init__(self, likes: Callable[[str], bool]) -> None:
        self.likes = likes

    def predict_proba(self, texts: Sequence[str]) -> NDArray[np.float64]:
        return np.array([[0.2, 0.8] if self.likes(text) else [0.7, 0.3] for text in texts])


def by_name(found: Sequence[LabelChanges]) -> dict[str, tuple[int, int]]:
    return {one.name: (one.changed.count, one.changed.total) for one in found}


def test_flips_are_counted_among_changed_texts() -> None:
    """The scorer looks for "don't": lost in capitals and without apostrophes."""
    texts = ["I don't know", "i don't", "plain", "LOUD", "1 2 3"]
    found = by_name(label_changes(Picky(lambda text: "don't" in text), texts))
    assert list(found) == list(BY_NAME)
    assert found["upper case"] == (2, 3)
    assert found["lower case"] == (0, 2)
    assert found["dropped apostrophes"] == (2, 2)
    assert found["added neutral sentence"] == (0, 5)
    assert found["swapped names"] == (0, 0)
    assert found["typos"] == (0, 3)
    assert found["link and user name"] == found["repeated 7 times"] == (0, 5)
    assert found["numbers and places"] == (0, 0)


def test_an_uncased_model_does_not_flip_with_case() -> None:
    found = by_name(
        label_changes(tiny.classifier(), ["A good film", "Awful", "the bad film was great"])
    )
    assert found["upper case"] == (0, 3)
    assert found["lower case"] == (0, 2)


def test_a_text_is_changed_alike_whatever_stands_beside_it() -> None:
    seen: list[set[str]] = []

    def look(text: str) -> bool:
        seen[-1].add(text)
        return True

    for other in ("Nobody knows anything", "?"):
        seen.append(set())
        label_changes(Picky(look), ["Anna didn't know a teacher in Rome", other], seed=3)
    shared = seen[0] & seen[1]
    assert len({text for text in shared if "teacher" in text.lower()}) == 1 + len(BY_NAME)
    assert label_changes(Picky(look), []) == label_changes(Picky(look), [])


def labelled(*texts: tuple[str, str | None]) -> list[Review]:
    return [Review(text, text, label, None, text) for text, label in texts]


def test_pairs() -> None:
    originals = labelled(("good", "positive"), ("bad", "negative"), ("not bad", "positive"))
    edits = labelled(("awful", "negative"), ("not good", "negative"), ("bad", "negative"))
    found = pair_accuracy(tiny.classifier(), "edited", originals, edits)
    assert found.name == "edited"
    assert (found.originals.count, found.edits.count, found.both.count) == (2, 2, 1)
    assert found.originals.total == found.edits.total == found.both.total == 3


def test_what_makes_no_pairs() -> None:
    good = labelled(("good", "positive"))
    with pytest.raises(InputError, match="1 originals and 0 edits"):
        pair_accuracy(tiny.classifier(), "x", good, [])
    with pytest.raises(InputError, match="unknown label 'meh'"):
        pair_accuracy(tiny.classifier(), "x", good, labelled(("bad", "meh")))
