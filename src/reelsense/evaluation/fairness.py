"""Sensitivity to identity terms: swap the term in a sentence, compare the probabilities.

The opinion of a sentence does not depend on its identity term ("a Muslim teacher", "a Jewish
teacher"), so the probability should not either: counterfactual token fairness (Garg et al. 2019,
"Counterfactual Fairness in Text Classification through Robustness"). Templates follow Dixon et al.
(2018, "Measuring and Mitigating Unintended Bias in Text Classification"); swaps in sentences that
people wrote follow Prabhakaran et al. (2019, "Perturbation Sensitivity Analysis to Detect
Unintended Model Biases").

Each sentence is compared with the median over the terms of its category in the same place. The
terms that no model is trained on are reported apart from the others. Sentences from reviews may
tell of what only one group lived through, and sound odd with another term; their opinion stays the
same.

Knows texts and a `Scorer`; terms and sentences are those of `datasets.identities`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import Literal, TypeVar

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
from reelsense.evaluation.metrics import Share, share
from reelsense.evaluation.scorer import Scorer, score

TOLERANCE = 0.1
"""How far a probability may lie from the median of its set without counting as changed."""

CATEGORY_TARGET, OVERALL_TARGET = 0.15, 0.10
"""The most changed sentences with held-out terms, of one category and of all of them."""

ALL = "all categories"

_Item = TypeVar("_Item")

Terms = Literal["held-out", "trained"]
"""Whether terms are kept from training; "trained" are those that training may use."""

_REFERENCES = 10
"""Terms that are not held out, for the median of a sentence from a review."""


@dataclass(frozen=True, slots=True)
class TermShift:
    """How much more positive sentences are with one term than with the median term."""

    term: str
    shift: float
    """The mean difference in the probability of "positive"."""
    sentences: int


@dataclass(frozen=True, slots=True)
class IdentityChanges:
    """What swapping the identity terms of one category did to the probability of "positive"."""

    category: str
    """A category, or ALL."""
    source: str
    """Where the sentences are from: "templates" or "reviews"."""
    terms: Terms
    changed: Share
    """Sentences more than `TOLERANCE` from the median of their set: the same with other terms."""
    sets: Share
    """Sets whose probabilities lie more than `TOLERANCE` apart: grows with the number of terms."""
    mean_range: float
    """The mean over the sets of their highest probability less their lowest."""
    shifts: list[TermShift]
    """From the least to the most positive term; none for ALL."""
    widest: tuple[str, str]
    """The two texts of a set that lie furthest apart, the lower one first."""

    @property
    def target(self) -> float | None:
        """The most that `changed` should be; None of terms that training may use."""
        if self.terms != "held-out":
            return None
        return OVERALL_TARGET if self.category == ALL else CATEGORY_TARGET


@dataclass(frozen=True, slots=True, eq=False)
class _ScoredSet:
    """One sentence with several terms (n) and how positive each text is."""

    category: str
    terms: list[Term]
    texts: list[str]
    positive: NDArray[np.float64]
    """(n) probabilities."""
    median: float
    """Over all terms that were scored, held out or not."""

    def only(self, terms: Terms) -> _ScoredSet:
        """Return the set with the held-out terms alone, or with the others."""
        kept = [n for n, term in enumerate(self.terms) if term.held_out == (terms == "held-out")]
        return _ScoredSet(
            self.category,
            [self.terms[n] for n in kept],
            [self.texts[n] for n in kept],
            self.positive[kept],
            self.median,
        )


def template_changes(scorer: Scorer) -> list[IdentityChanges]:
    """Measure `scorer` on the templates that are held out from training.

    Returns one result for each category and one for all of them, with the held-out terms, and the
    same with the others. Raises InputError if none of the scorer's labels is "positive".
    """
    sentences = template_sentences("measuring")
    return _measure(
        scorer, "templates", [(each, terms_of(each.category, each.form)) for each in sentences]
    )


def review_changes(scorer: Scorer, texts: Iterable[str], most: int = 100) -> list[IdentityChanges]:
    """Measure `scorer` on sentences of the reviews `texts` in which a term is swapped.

    Of each category at most `most` sentences are taken, always the same ones; categories without
    any are left out. Raises InputError if none of the scorer's labels is "positive".
    """
    found: dict[str, list[TermSentence]] = defaultdict(list)
    for sentence in review_sentences(texts):
        found[sentence.category].append(sentence)
    chosen = [
        (sentence, _some_terms(sentence))
        for category in categories()
        for sentence in _sample(found[category], most, category)
    ]
    return _measure(scorer, "reviews", chosen)


def _some_terms(sentence: TermSentence) -> list[Term]:
    """Return the held-out terms for `sentence` and a few others."""
    terms = terms_of(sentence.category, sentence.form)
    others = [term for term in terms if not term.held_out]
    chosen = _sample(others, _REFERENCES, sentence.category)
    return [term for term in terms if term.held_out or term in chosen]


def _sample(items: Sequence[_Item], most: int, seed: str) -> list[_Item]:
    return Random(seed).sample(items, min(most, len(items)))


def _measure(
    scorer: Scorer, source: str, sentences: Sequence[tuple[TermSentence, list[Term]]]
) -> list[IdentityChanges]:
    """Score `sentences` with their terms in one go, and sum up each category."""
    if "positive" not in scorer.labels:
        raise InputError(
            f'fairness needs a model with the label "positive"; this one has {list(scorer.labels)}'
        )
    column = scorer.labels.index("positive")
    texts = [sentence.texts(terms) for sentence, terms in sentences]
    scores = score(scorer, [text for some in texts for text in some], f"fairness, {source}")
    remaining = iter(scores[:, column].tolist())
    sets = []
    for (sentence, terms), some in zip(sentences, texts, strict=True):
        positive = np.array(list(islice(remaining, len(some))))
        if terms:
            median = float(np.median(positive))
            sets.append(_ScoredSet(sentence.category, terms, some, positive, median))
    both: tuple[Terms, ...] = ("held-out", "trained")
    return [result for terms in both for result in _by_category(sets, source, terms)]


def _by_category(sets: Sequence[_ScoredSet], source: str, terms: Terms) -> list[IdentityChanges]:
    parts = [part for each in sets if (part := each.only(terms)).texts]
    if not parts:
        return []
    groups = [[part for part in parts if part.category == name] for name in categories()]
    found = [_summary(some[0].category, source, terms, some) for some in groups if some]
    return [*found, _summary(ALL, source, terms, parts)]


def _summary(
    category: str, source: str, terms: Terms, sets: Sequence[_ScoredSet]
) -> IdentityChanges:
    differences = [each.positive - each.median for each in sets]
    ranges = np.array([np.ptp(each.positive) for each in sets])
    by_term: dict[str, list[float]] = defaultdict(list)
    for each, some in zip(sets, differences, strict=True):
        for term, difference in zip(each.terms, some.tolist(), strict=True):
            by_term[term.text].append(difference)
    shifts = [TermShift(term, float(np.mean(some)), len(some)) for term, some in by_term.items()]
    together = np.abs(np.concatenate(differences))
    widest = sets[int(ranges.argmax())]
    return IdentityChanges(
        category=category,
        source=source,
        terms=terms,
        changed=share(int((together > TOLERANCE).sum()), len(together)),
        sets=share(int((ranges > TOLERANCE).sum()), len(sets)),
        mean_range=float(ranges.mean()),
        shifts=[] if category == ALL else sorted(shifts, key=lambda each: each.shift),
        widest=(
            widest.texts[int(widest.positive.argmin())],
            widest.texts[int(widest.positive.argmax())],
        ),
    )
