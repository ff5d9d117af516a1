"""Whether the answer depends on who a text is about: swap the word of identity, compare.

A set is a text once with each word of a category ("a Muslim teacher", "a Jewish teacher", ...).
Nothing of its opinion hangs on that word, so the answers ought to be the same: counterfactual
token fairness (Garg et al. 2019, "Counterfactual Fairness in Text Classification through
Robustness"). The templates follow an idea of Dixon et al. (2018, "Measuring and
Mitigating Unintended Bias in Text Classification"); swaps in sentences that people wrote, and
the mean range of a set's scores, follow Prabhakaran et al. (2019, "Perturbation Sensitivity
Analysis to Detect Unintended Model Biases").

The more words a category has, the further apart its sets will lie: compare models by a category,
not categories with each other. Sentences may tell of what only one group lived through, and with
another word sound odd; their opinion stays the same.

Knows texts and a `Scorer`; the words and the templates are in `identities`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np

from reelsense import review
from reelsense.errors import InputError
from reelsense.evaluation import identities
from reelsense.evaluation.identities import ARTICLES, NOT_BEFORE, PRONOUNS, Category
from reelsense.evaluation.metrics import Share, share
from reelsense.evaluation.scorer import Scorer, score

CATEGORIES: tuple[str, ...] = tuple(category.name for category in identities.CATEGORIES)

TOLERANCE = 0.1
"""How far apart the probabilities of a set may lie without the set being counted."""

_WORDS = range(4, 41)
"""How long a sentence may be."""

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_LAST_ARTICLE = re.compile(r"\ban?\s+$", re.IGNORECASE)
_NEXT_WORD = re.compile(r"\s+([\w'-]+)")

SwapSet = dict[str, str]
"""A word of identity -> the text with it."""


@dataclass(frozen=True, slots=True)
class GroupScore:
    """How positive the texts with one word of identity were found."""

    word: str
    mean: float
    """The mean probability of the label "positive"."""
    texts: int


@dataclass(frozen=True, slots=True)
class Swaps:
    """What swapping the words of one category did to the probability of "positive"."""

    category: str
    source: str
    """Where the texts are from: "templates" or "sentences"."""
    flips: Share
    """Sets whose probabilities lie more than `TOLERANCE` apart."""
    mean_range: float
    """The mean over the sets of their highest probability less their lowest."""
    groups: list[GroupScore]
    """From the least to the most positive."""
    widest: tuple[str, str]
    """The two texts of a set that lie furthest apart, the lower one first."""


def template_swaps(scorer: Scorer) -> list[Swaps]:
    """Measure `scorer` on the templates of every category.

    Raises InputError if none of its labels is "positive".
    """
    sets = {
        category.name: [template_set(template, category.words) for template in category.templates]
        for category in identities.CATEGORIES
    }
    return _measure(scorer, "templates", sets)


def sentence_swaps(scorer: Scorer, texts: Sequence[str], most: int = 200) -> list[Swaps]:
    """Measure `scorer` on sentences of the reviews `texts` that hold a word of identity.

    Of each category at most `most` sentences are taken, always the same ones; categories without
    any are left out. Raises InputError if none of the scorer's labels is "positive".
    """
    chosen = {}
    for name, sets in sentence_sets(texts).items():
        some = sorted(Random(name).sample(range(len(sets)), min(most, len(sets))))
        if some:
            chosen[name] = [sets[n] for n in some]
    return _measure(scorer, "sentences", chosen)


def sentence_sets(texts: Iterable[str]) -> dict[str, list[SwapSet]]:
    """Return, for every category, the sets made of the sentences of `texts` that hold its words."""
    found: dict[str, list[SwapSet]] = {category.name: [] for category in identities.CATEGORIES}
    for sentence in dict.fromkeys(_sentences(texts)):
        for category in identities.CATEGORIES:
            swapped = _swap(category, sentence)
            if swapped:
                found[category.name].append(swapped)
    return found


def template_set(template: str, words: Iterable[str]) -> SwapSet:
    """Return the set that `template` makes with `words`; see `identities.Category`."""
    return {word: _fill(template, word) for word in words}


def _measure(scorer: Scorer, source: str, sets: Mapping[str, Sequence[SwapSet]]) -> list[Swaps]:
    """Score the texts of all `sets` (by category) in one go, and sum up each category."""
    if "positive" not in scorer.labels:
        raise InputError(
            f'fairness is measured by the label "positive"; the model has {list(scorer.labels)}'
        )
    texts = [text for some in sets.values() for one in some for text in one.values()]
    column = scorer.labels.index("positive")
    scores = iter(score(scorer, texts, f"fairness, {source}")[:, column].tolist())
    return [
        _summary(category, source, some, [[next(scores) for _ in one] for one in some])
        for category, some in sets.items()
    ]


def _summary(
    category: str, source: str, sets: Sequence[SwapSet], scores: Sequence[Sequence[float]]
) -> Swaps:
    """Sum up `sets`; the words of every set are the same and in the same order."""
    table = np.array(scores)  # (sets, words)
    ranges = table.max(axis=1) - table.min(axis=1)
    widest = int(ranges.argmax())
    texts = list(sets[widest].values())
    means = zip(sets[0], table.mean(axis=0).tolist(), strict=True)
    groups = [GroupScore(word, mean, len(sets)) for word, mean in means]
    return Swaps(
        category=category,
        source=source,
        flips=share(int((ranges > TOLERANCE).sum()), len(sets)),
        mean_range=float(ranges.mean()),
        groups=sorted(groups, key=lambda group: group.mean),
        widest=(texts[int(table[widest].argmin())], texts[int(table[widest].argmax())]),
    )


def _fill(template: str, word: str) -> str:
    he, his, him = PRONOUNS.get(word, ("", "", ""))
    article = _article(word)
    return template.format(
        x=word, X=_capital(word), a=article, A=_capital(article), he=he, his=his, him=him
    )


def _sentences(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        for sentence in _SENTENCE_END.split(review.clean(text)):
            if len(sentence.split()) in _WORDS:
                yield sentence


def _swap(category: Category, sentence: str) -> SwapSet:
    """Return `sentence` with each word of `category`; nothing if it is not fit for that."""
    found = list(_PATTERNS[category.name].finditer(sentence))
    if len(found) != 1:
        return {}
    start, end = found[0].span()
    before, own, after = sentence[:start], sentence[start:end], sentence[end:]
    if not _about_people(category, before, own, after):
        return {}
    article = _LAST_ARTICLE.search(before)
    swapped = {}
    for word in category.words:
        if word.lower() == own.lower():
            swapped[word] = sentence
        elif article:
            new = _article(word)
            new = _capital(new) if article[0].startswith("A") else new
            swapped[word] = f"{before[: article.start()]}{new} {word}{after}"
        else:
            swapped[word] = f"{before}{word if before else _capital(word)}{after}"
    return swapped


def _about_people(category: Category, before: str, own: str, after: str) -> bool:
    """Say whether `own`, a word of `category` between `before` and `after`, is said of people."""
    words = before.lower().split()
    if category.nouns:
        noun = _NEXT_WORD.match(after)
        return (
            noun is not None
            and noun[1] in category.nouns
            and (own[0].isupper() or own in category.words)  # no "polish"
            and not (words and words[-1].strip("\"'(") in NOT_BEFORE)
        )
    others = re.findall(r"\w+", f"{before} {after}".lower())
    return (
        own in category.words  # no "The Man"
        and bool(ARTICLES.intersection(words[-2:]))
        and words[-1].isalpha()
        and category.barred.isdisjoint(others)
    )


def _article(word: str) -> str:
    return "an" if word[0].lower() in "aeiou8" else "a"


def _capital(word: str) -> str:
    return word[0].upper() + word[1:]


def _pattern(words: Iterable[str]) -> re.Pattern[str]:
    longest_first = sorted(words, key=len, reverse=True)
    return re.compile(rf"(?<![\w-])(?:{'|'.join(longest_first)})(?![\w-])", re.IGNORECASE)


_PATTERNS = {category.name: _pattern(category.words) for category in identities.CATEGORIES}
