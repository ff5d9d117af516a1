"""Sensitivity to identity terms: swap the term of a sentence and compare the probabilities.

Counterfactual token fairness (Garg et al. 2019), on templates (Dixon et al. 2018) and on sentences
from reviews (Prabhakaran et al. 2019). Terms that training may use are reported separately.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from reelsense.datasets.identities import (
    Term,
    TermSentence,
    categories,
    review_sentences,
    template_sentences,
    terms_of,
)
from reelsense.errors import InputError
from reelsense.evaluation.metrics import share_of
from reelsense.evaluation.scorer import Scorer, score
from reelsense.report.results import ALL_CATEGORIES, IdentityChanges, Terms, TermShift

TOLERANCE = 0.1  # maximum distance from the median of the set of an unchanged probability

_TRAINED_TERMS = 10  # per sentence from a review

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True, eq=False)
class _ScoredSet:
    """A sentence with several identity terms (n) and the probability of "positive" of each."""

    category: str
    terms: list[Term]
    texts: list[str]
    positive: NDArray[np.float64]  # (n)
    median: float  # over all scored terms, held out or not

    def only(self, terms: Terms) -> _ScoredSet:
        kept = [n for n, term in enumerate(self.terms) if term.held_out == (terms == "held-out")]
        return _ScoredSet(
            self.category,
            [self.terms[n] for n in kept],
            [self.texts[n] for n in kept],
            self.positive[kept],
            self.median,
        )


def template_changes(scorer: Scorer) -> list[IdentityChanges]:
    """Measure `scorer` on the templates that training does not use.

    Returns:
        For the held-out terms, one result per category and one for all of them; then the same for
        the trained terms.

    Raises:
        InputError: `scorer` has no label "positive" (code `no-positive-label`).
    """
    sentences = template_sentences("measuring")
    return _measure(
        scorer,
        "templates",
        [(sentence, terms_of(sentence.category, sentence.form)) for sentence in sentences],
    )


def review_changes(scorer: Scorer, texts: Iterable[str], limit: int = 100) -> list[IdentityChanges]:
    """Measure `scorer` on sentences from the reviews `texts` that contain an identity term.

    A fixed sample of `limit` sentences per category is used; categories without any are left out.
    Results and errors are those of `template_changes`. A sentence may sound odd with another term;
    its opinion stays the same.
    """
    by_category: dict[str, list[TermSentence]] = defaultdict(list)
    for sentence in review_sentences(texts):
        by_category[sentence.category].append(sentence)
    sample = [
        (sentence, _some_terms(sentence))
        for category in categories()
        for sentence in _sample(by_category[category], limit, category)
    ]
    return _measure(scorer, "reviews", sample)


def _some_terms(sentence: TermSentence) -> list[Term]:
    """Return all held-out terms that fit `sentence`, and a sample of the others."""
    terms = terms_of(sentence.category, sentence.form)
    trained = [term for term in terms if not term.held_out]
    chosen = _sample(trained, _TRAINED_TERMS, sentence.category)
    return [term for term in terms if term.held_out or term in chosen]


def _sample(items: Sequence[_Item], limit: int, seed: str) -> list[_Item]:
    return Random(seed).sample(items, min(limit, len(items)))


def _measure(
    scorer: Scorer, source: str, sentences: Sequence[tuple[TermSentence, list[Term]]]
) -> list[IdentityChanges]:
    """Score all `sentences` with their terms, and summarize each category."""
    if "positive" not in scorer.labels:
        raise InputError(
            f'fairness needs a model with the label "positive", this one has {list(scorer.labels)}',
            code="no-positive-label",
        )
    column = scorer.labels.index("positive")
    texts_by_set = [sentence.texts(terms) for sentence, terms in sentences]
    texts = [text for set_texts in texts_by_set for text in set_texts]
    remaining = iter(score(scorer, texts, f"fairness, {source}")[:, column].tolist())
    sets = []
    for (sentence, terms), set_texts in zip(sentences, texts_by_set, strict=True):
        positive = np.array(list(islice(remaining, len(set_texts))))
        if terms:
            median = float(np.median(positive))
            sets.append(_ScoredSet(sentence.category, terms, set_texts, positive, median))
    both: tuple[Terms, ...] = ("held-out", "trained")
    return [result for terms in both for result in _by_category(sets, source, terms)]


def _by_category(sets: Sequence[_ScoredSet], source: str, terms: Terms) -> list[IdentityChanges]:
    with_terms = [part for scored in sets if (part := scored.only(terms)).texts]
    if not with_terms:
        return []
    results = []
    for category in categories():
        of_category = [scored for scored in with_terms if scored.category == category]
        if of_category:
            results.append(_summarize(category, source, terms, of_category))
    return [*results, _summarize(ALL_CATEGORIES, source, terms, with_terms)]


def _summarize(
    category: str, source: str, terms: Terms, sets: Sequence[_ScoredSet]
) -> IdentityChanges:
    differences = [scored.positive - scored.median for scored in sets]
    ranges = np.array([np.ptp(scored.positive) for scored in sets])
    by_term: dict[str, list[float]] = defaultdict(list)
    for scored, of_set in zip(sets, differences, strict=True):
        for term, difference in zip(scored.terms, of_set.tolist(), strict=True):
            by_term[term.text].append(difference)
    shifts = [
        TermShift(term, float(np.mean(of_term)), len(of_term)) for term, of_term in by_term.items()
    ]
    widest = sets[int(ranges.argmax())]
    return IdentityChanges(
        category=category,
        source=source,
        terms=terms,
        changed=share_of(np.abs(np.concatenate(differences)) > TOLERANCE),
        sets=share_of(ranges > TOLERANCE),
        mean_range=float(ranges.mean()),
        shifts=[] if category == ALL_CATEGORIES else sorted(shifts, key=lambda shift: shift.shift),
        widest=(
            widest.texts[int(widest.positive.argmin())],
            widest.texts[int(widest.positive.argmax())],
        ),
    )
