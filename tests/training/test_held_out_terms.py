"""The lists of `training.teach` against the terms that fairness is measured with."""

from reelsense.datasets.identities import all_terms, template_sentences
from reelsense.evaluation.identities import CATEGORIES
from reelsense.training.templates import ADJECTIVES, NOUNS


def test_training_knows_no_term_and_no_template_that_is_held_out() -> None:
    held_out = {term.text for term in all_terms() if term.held_out}
    assert held_out.isdisjoint(word for category in CATEGORIES for word in category.words)
    measured = {sentence.template for sentence in template_sentences("measuring")}
    assert measured.isdisjoint({*ADJECTIVES, *NOUNS})
