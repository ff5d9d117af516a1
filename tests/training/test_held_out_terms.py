"""The terms that share an embedding against the terms that fairness is measured with."""

from reelsense.datasets.identities import all_terms
from reelsense.training.identities import CATEGORIES


def test_training_knows_no_term_that_is_held_out() -> None:
    held_out = {term.text for term in all_terms() if term.held_out}
    assert held_out.isdisjoint(word for category in CATEGORIES for word in category.words)
