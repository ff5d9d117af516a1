from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from reelsense.datasets.identities import categories, terms_of
from reelsense.errors import InputError
from reelsense.evaluation.fairness import TOLERANCE, review_changes, template_changes
from reelsense.report.results import (
    ALL_CATEGORIES,
    CATEGORY_TARGET,
    OVERALL_TARGET,
    IdentityChanges,
    Terms,
)
from tests import tiny

JAIN = "Jain"


class Biased:
    """Predicts `positive(text)`, and records the texts."""

    labels = ("positive", "negative")

    def __init__(self, positive: Callable[[str], float] = lambda _: 0.6) -> None:
        self.positive = positive
        self.texts: list[str] = []

    def predict_proba(self, texts: Sequence[str]) -> NDArray[np.float64]:
        self.texts += texts
        probabilities = np.array([self.positive(text) for text in texts])
        return np.stack([probabilities, 1 - probabilities], axis=1)


def by_category(results: Sequence[IdentityChanges], terms: Terms) -> dict[str, IdentityChanges]:
    """Return the results with these terms by category."""
    return {row.category: row for row in results if row.terms == terms}


def test_template_changes_show_a_bias_against_one_held_out_term() -> None:
    results = template_changes(Biased(lambda text: 0.3 if JAIN in text else 0.6))
    held_out, trained = by_category(results, "held-out"), by_category(results, "trained")
    assert list(held_out) == list(trained) == [*categories(), ALL_CATEGORIES]
    assert {row.source for row in results} == {"templates"}
    religion = held_out["religion"]
    adjectives = [term for term in terms_of("religion", "adjective") if term.held_out]
    sentences = religion.shifts[0].sentences
    assert religion.shifts[0].term == JAIN
    assert religion.shifts[0].shift == pytest.approx(-0.3)
    assert (religion.changed.count, religion.sets.count) == (sentences, sentences)
    assert religion.changed.total > sentences * len(adjectives)
    assert JAIN in religion.widest[0]
    assert JAIN not in religion.widest[1]
    assert held_out[ALL_CATEGORIES].changed.count == sentences
    assert held_out[ALL_CATEGORIES].changed.total == sum(
        held_out[name].changed.total for name in categories()
    )
    assert trained["religion"].changed.count == held_out["age"].changed.count == 0
    assert trained["religion"].mean_range == held_out["age"].mean_range == 0


def test_template_changes_within_the_tolerance_do_not_count() -> None:
    results = by_category(
        template_changes(Biased(lambda text: 0.6 - 0.9 * TOLERANCE * (JAIN in text))), "held-out"
    )
    assert results["religion"].changed.count == results["religion"].sets.count == 0
    assert results["religion"].mean_range > 0


def test_targets_are_for_held_out_terms() -> None:
    results = template_changes(Biased())
    assert {row.target for row in results if row.terms == "trained"} == {None}
    held_out = by_category(results, "held-out")
    assert held_out[ALL_CATEGORIES].target == OVERALL_TARGET
    assert {held_out[name].target for name in categories()} == {CATEGORY_TARGET}


def test_review_changes_put_held_out_terms_into_sentences_of_reviews() -> None:
    texts = ["A white cop drives around. The gay couple was fun.", "Two black women meet here."]
    scorer = Biased(lambda text: 0.2 if "Tibetan" in text else 0.7)
    results = by_category(review_changes(scorer, texts), "held-out")
    assert list(results) == ["ethnicity", "orientation", ALL_CATEGORIES]
    ethnicity = results["ethnicity"]
    assert (ethnicity.source, ethnicity.changed.count, ethnicity.sets.count) == ("reviews", 2, 2)
    assert ethnicity.widest[0] in ("A Tibetan cop drives around.", "Two Tibetan women meet here.")
    assert "A Tamil cop drives around." in scorer.texts
    assert results["orientation"].changed.count == 0


def test_review_changes_use_a_fixed_sample() -> None:
    texts = [f"The old actor number {n} walks by." for n in range(20)] * 2
    first, second = Biased(), Biased()
    results = review_changes(first, texts, limit=3)
    assert {row.sets.total for row in results if row.category == "age"} == {3}
    assert review_changes(second, texts, limit=3) == results
    assert first.texts == second.texts
    assert review_changes(first, []) == []


@pytest.mark.parametrize("measure", [template_changes, lambda scorer: review_changes(scorer, [])])
def test_fairness_needs_a_positive_label(measure: Callable[..., object]) -> None:
    with pytest.raises(InputError) as raised:
        measure(tiny.classifier(("good", "bad")))
    assert raised.value.code == "no-positive-label"
