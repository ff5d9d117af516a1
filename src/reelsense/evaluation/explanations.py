"""Whether explanations are true: whether what they point at carries the answer.

Sentences are taken out of reviews, or kept alone, in the order in which a method ranks them, and
the cut text is scored as any other: comprehensiveness and sufficiency (DeYoung et al. 2020,
"ERASER: A Benchmark to Evaluate Rationalized NLP Models"), here of whole sentences. Beside the
explanations stand orders that know nothing of the answer, and another method if one is given.

Knows texts and an `Explainer`; knows no files and no models.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr
from tqdm import tqdm

from reelsense.datasets.reviews import Review
from reelsense.evaluation.metrics import Share, share
from reelsense.evaluation.perturbations import typos
from reelsense.evaluation.scorer import Scorer, score
from reelsense.prediction import Explanation, Part, without

SHARES = (0.1, 0.2, 0.5)
"""Of the characters of a review, how many are taken out or kept at least."""

_SAMPLE = 500
"""Reviews that are explained, half of them of each label."""

_LIKE = 0.5
"""How much longer or shorter, as a share, a sentence of like length may be."""

_LEAST = 1e-9
"""Probabilities are kept this far from 0 and 1 before their log-odds are taken."""

Scores = Callable[[str, Sequence[Part]], Sequence[float]]
"""Another method: a text and its sentences to how much each speaks for "positive"."""


class Explainer(Scorer, Protocol):
    """A classifier that explains itself; `reelsense.Classifier` is one."""

    def explain(self, text: str) -> Explanation:
        """Return what carries the answer for `text`."""
        ...


@dataclass(frozen=True, slots=True)
class Deletion:
    """How far the log-odds move, on average, when one sentence of a review is taken out."""

    reviews: int
    heaviest: float
    """The one with the largest weight, nats."""
    random: float
    """Another one of like length."""
    ratio: float | None
    """The first, in units of the second; None if that is 0."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """What the probability of the answer loses, on average, by an order of the sentences."""

    name: str
    comprehensiveness: list[float]
    """For each of SHARES: without the first sentences in this order. The more the better."""
    sufficiency: list[float]
    """With these alone. The less the better."""


@dataclass(frozen=True, slots=True)
class CounterfactualsFound:
    """For how many reviews a set of parts was found that turns the label, and how large it is."""

    found: Share
    by_words: int
    """Of these, words and no sentences."""
    sizes: list[int]
    """Sentences in each set of sentences."""
    median_share: float
    """Characters in these, as a share of the review's."""


@dataclass(frozen=True, slots=True)
class Stability:
    """What stays of an explanation when a tenth of the longer words get typing errors."""

    same_label: Share
    same_heaviest: Share
    """The heaviest sentence is still that one, of the reviews with the same label and as many
    sentences."""
    correlation: float
    """Median of Spearman's rank correlation of the weights within a review, of those among them
    with three sentences or more."""


@dataclass(frozen=True, slots=True)
class Explanations:
    """How true explanations are."""

    reviews: int
    deletion: Deletion
    rankings: list[Ranking]
    flips: CounterfactualsFound
    stability: Stability


@dataclass(frozen=True, slots=True)
class _Explained:
    text: str
    found: Explanation

    @property
    def answer(self) -> str:
        return self.found.prediction.label


def measure_explanations(
    explainer: Explainer,
    reviews: Sequence[Review],
    other: tuple[str, Scores] | None = None,
    seed: int = 0,
) -> Explanations:
    """Measure the explanations of 500 of labelled `reviews`, as many of each label.

    `other` is a method to compare with, and its name. Only reviews of two sentences or more say
    something about the order of sentences; flips are counted of all.
    """
    texts = _sample(reviews, seed)
    explained = _explain(explainer, texts, "explaining")
    several = [each for each in explained if len(each.found.sentences) > 1]
    orders: list[tuple[str, list[list[int]]]] = [
        ("weights", [_ranked(each.found.support) for each in several]),
        *_blind_orders(several, seed),
    ]
    if other:
        name, scores = other
        orders.insert(1, (name, _other_order(several, scores, name)))
    return Explanations(
        reviews=len(explained),
        deletion=_deletion(explainer, several, seed),
        rankings=_rankings(explainer, several, orders),
        flips=_flips(explained),
        stability=_stability(explainer, explained, seed),
    )


def _sample(reviews: Sequence[Review], seed: int) -> list[str]:
    labels = sorted({str(review.label) for review in reviews})
    random = Random(seed)
    chosen: list[str] = []
    for label in labels:
        texts = [review.text for review in reviews if review.label == label]
        chosen += random.sample(texts, min(_SAMPLE // len(labels), len(texts)))
    return chosen


def _explain(explainer: Explainer, texts: Sequence[str], title: str) -> list[_Explained]:
    return [
        _Explained(text, explainer.explain(text)) for text in tqdm(texts, title, unit=" reviews")
    ]


def _ranked(values: Sequence[float]) -> list[int]:
    """Return the places of `values`, the largest first."""
    return sorted(range(len(values)), key=lambda n: -values[n])


def _blind_orders(explained: Sequence[_Explained], seed: int) -> list[tuple[str, list[list[int]]]]:
    counts = [len(each.found.sentences) for each in explained]
    random = [Random(f"{seed}-{n}") for n in range(len(counts))]
    return [
        (
            "random",
            [one.sample(range(count), count) for one, count in zip(random, counts, strict=True)],
        ),
        ("from the start", [list(range(count)) for count in counts]),
        ("from the end", [list(range(count))[::-1] for count in counts]),
    ]


def _other_order(explained: Sequence[_Explained], scores: Scores, name: str) -> list[list[int]]:
    orders = []
    for each in tqdm(explained, name, unit=" reviews"):
        sign = 1 if each.answer == "positive" else -1
        found = scores(each.text, each.found.sentences)
        orders.append(_ranked([sign * value for value in found]))
    return orders


def _deletion(explainer: Explainer, explained: Sequence[_Explained], seed: int) -> Deletion:
    cut: list[tuple[str, Part, Part]] = []
    for n, each in enumerate(explained):
        parts = each.found.sentences
        heaviest = max(parts, key=lambda part: abs(part.weight))
        others = [part for part in parts if part is not heaviest]
        cut.append((each.text, heaviest, _of_like_length(heaviest, others, Random(f"{seed}+{n}"))))
    if not cut:
        return Deletion(0, 0.0, 0.0, None)
    answers = [each.answer for each in explained]
    whole = _log_odds(explainer, [each.text for each in explained], answers, "as given")
    moved = [
        float(np.abs(whole - _log_odds(explainer, texts, answers, title)).mean())
        for title, texts in (
            ("without the heaviest", [without(text, [part]) for text, part, _ in cut]),
            ("without a random one", [without(text, [part]) for text, _, part in cut]),
        )
    ]
    return Deletion(len(cut), moved[0], moved[1], moved[0] / moved[1] if moved[1] else None)


def _of_like_length(targets: Part, others: Sequence[Part], random: Random) -> Part:
    """Choose one of `others` at random among those of like length; if none is, the nearest."""

    def off(part: Part) -> float:
        return abs((part.end - part.start) / (targets.end - targets.start) - 1)

    like = [part for part in others if off(part) <= _LIKE]
    return random.choice(like) if like else min(others, key=off)


def _rankings(
    explainer: Explainer,
    explained: Sequence[_Explained],
    orders: Sequence[tuple[str, list[list[int]]]],
) -> list[Ranking]:
    answers = [each.answer for each in explained]
    whole = _probabilities(explainer, [each.text for each in explained], answers, "as given")
    cuts = [(keep, portion) for keep in (False, True) for portion in SHARES]
    found = []
    for name, of_reviews in orders:
        texts = [
            _cut(each, order, portion, keep=keep)
            for keep, portion in cuts
            for each, order in zip(explained, of_reviews, strict=True)
        ]
        left = _probabilities(explainer, texts, answers * len(cuts), f"cut by {name}")
        lost = (whole - left.reshape(len(cuts), -1)).sum(axis=1) / max(1, len(explained))
        without_them, alone = lost.reshape(2, -1).tolist()
        found.append(Ranking(name, without_them, alone))
    return found


def _cut(each: _Explained, order: Sequence[int], portion: float, *, keep: bool) -> str:
    """Take the first sentences of `order` out, until `portion` of the text is; or keep them."""
    parts = each.found.sentences
    length = sum(part.end - part.start for part in parts)
    first: list[int] = []
    for n in order[:-1]:  # something is to be left
        first.append(n)
        if sum(parts[k].end - parts[k].start for k in first) >= portion * length:
            break
    gone = [n for n in range(len(parts)) if (n in first) != keep]
    return without(each.text, [parts[n] for n in gone])


def _probabilities(
    scorer: Scorer, texts: Sequence[str], answers: Sequence[str], title: str
) -> NDArray[np.float64]:
    """The probability of each text's own answer."""
    places = [scorer.labels.index(answer) for answer in answers]
    return np.asarray(score(scorer, texts, title)[np.arange(len(texts)), places])


def _log_odds(
    scorer: Scorer, texts: Sequence[str], answers: Sequence[str], title: str
) -> NDArray[np.float64]:
    found = _probabilities(scorer, texts, answers, title).clip(_LEAST, 1 - _LEAST)
    return np.asarray(np.log(found / (1 - found)))


def _flips(explained: Sequence[_Explained]) -> CounterfactualsFound:
    flips = [
        (each.text, each.found.counterfactual) for each in explained if each.found.counterfactual
    ]
    by_sentences = [
        (text, counterfactual.parts)
        for text, counterfactual in flips
        if counterfactual and counterfactual.unit == "sentences"
    ]
    removed = [
        sum(part.end - part.start for part in parts) / len(text) for text, parts in by_sentences
    ]
    return CounterfactualsFound(
        found=share(len(flips), len(explained)),
        by_words=len(flips) - len(by_sentences),
        sizes=[len(parts) for _, parts in by_sentences],
        median_share=float(np.median(removed)) if removed else 0.0,
    )


def _stability(explainer: Explainer, explained: Sequence[_Explained], seed: int) -> Stability:
    mistyped = [typos(each.text, Random(f"{seed}-typos-{n}")) for n, each in enumerate(explained)]
    again = _explain(explainer, mistyped, "explaining with typos")
    pairs = list(zip(explained, again, strict=True))
    same = [
        (np.array(before.found.support), np.array(after.found.support))
        for before, after in pairs
        if before.answer == after.answer
        and len(before.found.support) == len(after.found.support) > 1
    ]
    kept = sum(bool(np.abs(old).argmax() == np.abs(new).argmax()) for old, new in same)
    ranks = [
        spearmanr(old, new).statistic
        for old, new in same
        if len(old) > 2 and np.ptp(old) and np.ptp(new)  # of equal weights there is no order
    ]
    return Stability(
        same_label=share(sum(old.answer == new.answer for old, new in pairs), len(pairs)),
        same_heaviest=share(kept, len(same)),
        correlation=float(np.median(ranks)) if ranks else 0.0,
    )
