from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from reelsense.datasets.evaluation_sets import Audit
from reelsense.datasets.reviews import Review
from reelsense.evaluation import label_quality
from reelsense.evaluation.label_quality import (
    describe_suspects,
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
    results = label_views(FIVE, audit, training)
    return [(row.name, row.accuracy.count, row.accuracy.total) for row in results]


def test_label_views_with_audit_by_hand() -> None:
    """r1 becomes correct, r4 wrong, r2 is excluded; r0 and r3 do not change."""
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


def test_label_views_ignore_the_audit_for_three_labels() -> None:
    """If "negative" is wrong, the right label is not known."""
    probabilities = np.concatenate([FIVE.probabilities / 9, np.full((5, 1), 8 / 9)], axis=1)
    mixed = replace(FIVE, labels=(*FIVE.labels, "mixed"), probabilities=probabilities)
    assert len(label_views(mixed, {"r1": Audit.FLIPPED}, set())) == 1


@pytest.mark.parametrize("audit", [None, {}, {"test/neg/1_1.txt": Audit.FLIPPED}])
def test_label_views_without_audited_reviews(audit: dict[str, Audit] | None) -> None:
    assert counts(audit, {"another film"}) == [("original labels", 3, 5)]


def test_label_views_without_duplicates_of_training_texts() -> None:
    texts = ["seen", "b", "seen too", "d", "e"]
    reviews = [replace(review, text=text) for review, text in zip(FIVE.reviews, texts, strict=True)]
    results = label_views(replace(FIVE, reviews=reviews), None, {"seen", "seen too", "other"})
    assert len(results) == 2
    assert "the 2 texts" in results[1].name
    assert (results[1].accuracy.count, results[1].accuracy.total) == (2, 3)


NONE = np.empty(0, dtype=np.int64)


def test_worst_mistakes_are_sorted_by_confidence() -> None:
    cases = [("positive", 0.4), ("positive", 0.05), ("negative", 0.99), ("negative", 0.01)]
    labelled = predictions(*cases, ("negative", 0.7), text="dull")
    results = worst_mistakes(labelled, NONE)
    assert [row.name for row in results] == ["r2", "r1", "r4", "r0"]
    assert [row.score for row in results] == pytest.approx([0.99, 0.95, 0.7, 0.6])
    assert (results[0].label, results[0].predicted) == ("negative", "positive")
    assert (results[1].label, results[1].predicted) == ("positive", "negative")
    assert results[1].text == "dull"
    assert worst_mistakes(labelled, NONE, limit=2) == results[:2]
    assert worst_mistakes(labelled, np.array([2, 4])) == [results[1], results[3]]
    assert worst_mistakes(predictions(("positive", 0.9)), NONE) == []


def test_label_errors_finds_wrong_labels() -> None:
    right = [
        (label, positive)
        for _ in range(20)
        for label, positive in (("positive", 0.9), ("negative", 0.1))
    ]
    wrong = [("negative", 0.97), ("positive", 0.02), ("negative", 0.96)]
    labelled = predictions(*right, *wrong)
    results = label_errors(labelled, suspect_labels(labelled), None)
    assert (results.count, results.audited, results.not_upheld) == (3, 0, 0)
    assert [row.name for row in results.likeliest] == ["r41", "r40", "r42"]
    assert (results.likeliest[0].label, results.likeliest[0].predicted) == ("positive", "negative")
    audit = {"r40": Audit.UNCLEAR, "r41": Audit.FLIPPED, "r0": Audit.FLIPPED}
    audited = label_errors(labelled, suspect_labels(labelled), audit, limit=1)
    assert (audited.count, audited.audited, audited.not_upheld) == (3, 2, 2)
    assert audited.likeliest == results.likeliest[:1]
    kept = label_errors(labelled, suspect_labels(labelled), {**audit, "r41": Audit.UPHELD})
    assert (kept.audited, kept.not_upheld) == (2, 1)


def test_suspect_labels_of_few_reviews() -> None:
    labelled = predictions(("positive", 0.9), ("negative", 0.1), ("negative", 0.95))
    assert suspect_labels(labelled).tolist() == [2]


def test_suspect_labels_is_empty_if_a_label_never_occurs() -> None:
    assert not len(suspect_labels(predictions(("positive", 0.9), ("positive", 0.1))))


def tickets(count: int) -> list[Review]:
    """Return rows of three labels. A word gives away the label."""
    words = {"billing": "invoice", "account": "password", "bug": "crash"}
    labels = list(words) * (count // 3)
    return [
        Review(f"row {n}", f"the {words[label]} of {n % 7} and {n % 5}", label, None, "")
        for n, label in enumerate(labels)
    ]


def test_describe_suspects_names_wrong_labels() -> None:
    rows = tickets(90)
    rows[3] = replace(rows[3], label="bug")
    rows[40] = replace(rows[40], label="billing")
    (line,) = describe_suspects(rows)
    assert line.startswith("labels to check (2)")
    assert "row 3 (bug; billing?)" in line
    assert "row 40 (billing; account?)" in line
    (line,) = describe_suspects(rows, limit=1)
    assert line.startswith("labels to check (2)")
    assert line.count("?") == 1
    assert line.endswith(", ...")


def test_describe_suspects_checks_a_sample_of_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[int] = []
    monkeypatch.setattr(label_quality, "_CHECKED", 60)
    monkeypatch.setattr(
        label_quality, "cross_validate", lambda reviews: checked.append(len(reviews))
    )
    assert describe_suspects(tickets(90)) == describe_suspects(tickets(30)) == []
    assert checked == [60, 30]


@pytest.mark.parametrize(
    "rows",
    [
        tickets(90),
        [replace(row, label=None) for row in tickets(90)],
        [*tickets(90)[::3], *tickets(90)[1:12:3]],  # 30 of one label, 4 of another one
        [Review("", f"word{n}", "ab"[n % 2], None, "") for n in range(20)],
    ],
    ids=["right", "unlabelled", "rare label", "no word twice"],
)
def test_describe_suspects_is_empty_without_evidence(rows: list[Review]) -> None:
    assert describe_suspects(rows) == []
