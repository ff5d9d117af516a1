from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from reelsense.datasets.evaluation_sets import Audit
from reelsense.evaluation.label_quality import (
    label_errors,
    label_views,
    suspect_labels,
    worst_mistakes,
)
from tests.evaluation.test_predictions import predictions

FIVE = predictions(
    ("positive", 0.9),
    ("positive", 0.2),  # wrong
    ("negative", 0.8),  # wrong
    ("negative", 0.1),
    ("negative", 0.3),
)


def counts(audit: dict[str, Audit] | None, training: set[str]) -> list[tuple[str, int, int]]:
    found = label_views(FIVE, audit, training)
    return [(each.name, each.accuracy.count, each.accuracy.total) for each in found]


def test_audited_labels_by_hand() -> None:
    """r1 turns right, r4 wrong, r2 is left out; r0 and r3 stay."""
    audit = {
        "r0": Audit.UPHELD,
        "r1": Audit.FLIPPED,
        "r2": Audit.UNCLEAR,
        "r4": Audit.FLIPPED,
        "r9": Audit.FLIPPED,
    }
    assert counts(audit, set()) == [("original labels", 3, 5), ("audited labels", 3, 4)]
    del audit["r4"]
    assert counts(audit, set())[1] == ("audited labels", 4, 4)


def test_with_three_labels_an_audit_does_not_say_which_is_right() -> None:
    """That "negative" is wrong does not make "mixed" right."""
    sure = np.concatenate([FIVE.probabilities / 9, np.full((5, 1), 8 / 9)], axis=1)
    mixed = replace(FIVE, labels=(*FIVE.labels, "mixed"), probabilities=sure)
    assert len(label_views(mixed, {"r1": Audit.FLIPPED}, set())) == 1


@pytest.mark.parametrize("audit", [None, {}, {"test/neg/1_1.txt": Audit.FLIPPED}])
def test_without_an_audit_of_these_reviews(audit: dict[str, Audit] | None) -> None:
    assert counts(audit, {"another film"}) == [("original labels", 3, 5)]


def test_doubles_of_training_are_left_out() -> None:
    texts = ["seen", "b", "seen too", "d", "e"]
    reviews = [replace(one, text=text) for one, text in zip(FIVE.reviews, texts, strict=True)]
    found = label_views(replace(FIVE, reviews=reviews), None, {"seen", "seen too", "other"})
    assert len(found) == 2
    assert "the 2 texts" in found[1].name
    assert (found[1].accuracy.count, found[1].accuracy.total) == (2, 3)


NONE = np.empty(0, dtype=np.int64)


def test_the_worst_mistakes_come_first() -> None:
    cases = [("positive", 0.4), ("positive", 0.05), ("negative", 0.99), ("negative", 0.01)]
    made = predictions(*cases, ("negative", 0.7), text="dull")
    found = worst_mistakes(made, NONE)
    assert [each.name for each in found] == ["r2", "r1", "r4", "r0"]
    assert [each.score for each in found] == pytest.approx([0.99, 0.95, 0.7, 0.6])
    assert (found[0].label, found[0].predicted) == ("negative", "positive")
    assert (found[1].label, found[1].predicted, found[1].text) == ("positive", "negative", "dull")
    assert worst_mistakes(made, NONE, limit=2) == found[:2]
    assert worst_mistakes(made, np.array([2, 4])) == [found[1], found[3]]
    assert worst_mistakes(predictions(("positive", 0.9)), NONE) == []


def test_planted_wrong_labels_are_found() -> None:
    right = [
        (label, sure) for _ in range(20) for label, sure in (("positive", 0.9), ("negative", 0.1))
    ]
    planted = [("negative", 0.97), ("positive", 0.02), ("negative", 0.96)]
    made = predictions(*right, *planted)
    found = label_errors(made, suspect_labels(made), None)
    assert (found.count, found.audited, found.not_upheld) == (3, 0, 0)
    assert [each.name for each in found.likeliest] == ["r41", "r40", "r42"]
    assert (found.likeliest[0].label, found.likeliest[0].predicted) == ("positive", "negative")
    audit = {"r40": Audit.UNCLEAR, "r41": Audit.FLIPPED, "r0": Audit.FLIPPED}
    audited = label_errors(made, suspect_labels(made), audit, limit=1)
    assert (audited.count, audited.audited, audited.not_upheld) == (3, 2, 2)
    assert audited.likeliest == found.likeliest[:1]
    kept = label_errors(made, suspect_labels(made), {**audit, "r41": Audit.UPHELD})
    assert (kept.audited, kept.not_upheld) == (2, 1)


def test_few_reviews_are_enough() -> None:
    """Without a warning of cleanlab's, too."""
    made = predictions(("positive", 0.9), ("negative", 0.1), ("negative", 0.95))
    assert suspect_labels(made).tolist() == [2]


def test_a_label_that_does_not_occur() -> None:
    assert not len(suspect_labels(predictions(("positive", 0.9), ("positive", 0.1))))
