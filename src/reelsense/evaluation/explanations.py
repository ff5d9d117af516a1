"""Measure explanations: does deleting what they point at change the prediction?

Sentences are deleted from reviews, or kept alone, in the order of a ranking, and the shortened text
is scored like any other: comprehensiveness and sufficiency (DeYoung et al. 2020, "ERASER: A
Benchmark to Evaluate Rationalized NLP Models"), here of whole sentences. The explanations are
compared with rankings that do not use the prediction, and with another method if one is given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr
from tqdm import tqdm

from reelsense.datasets.reviews import Review
from reelsense.evaluation.metrics import share
from reelsense.evaluation.perturbations import typos
from reelsense.evaluation.scorer import Scorer, score
from reelsense.prediction import Explanation, Part, without
from reelsense.report.results import (
    DELETION_SHARES,
    CounterfactualsFound,
    DeletionEffect,
    ExplanationQuality,
    ExplanationStability,
    SentenceRanking,
)

_SAMPLE = 500
"""Reviews to explain, the same number of each label."""

_SIMILAR = 0.5
"""Maximum relative difference of similar lengths."""

_EPSILON = 1e-9
"""Probabilities are clipped to this distance from 0 and 1 before their log-odds are computed."""

Scores = Callable[[str, Sequence[Part]], Sequence[float]]
"""An explanation method: a text and its sentences to the weight of each for "positive"."""


class Explainer(Scorer, Protocol):
    """A classifier that explains its predictions, such as `reelsense.Classifier`."""

    def explain(self, text: str) -> Explanation:
        """Return the explanation of the prediction for `text`."""
        ...


@dataclass(frozen=True, slots=True)
class _Explained:
    text: str
    explanation: Explanation

    @property
    def label(self) -> str:
        return self.explanation.prediction.label

    @property
    def sentences(self) -> Sequence[Part]:
        return self.explanation.sentences


def measure_explanations(
    explainer: Explainer,
    reviews: Sequence[Review],
    other: tuple[str, Scores] | None = None,
    seed: int = 0,
) -> ExplanationQuality:
    """Measure the explanations of up to 500 labelled `reviews`, balanced by label.

    Counterfactuals and stability are measured on all of them, rankings on those with two sentences
    or more.

    Args:
        explainer: The classifier.
        reviews: Labelled reviews.
        other: Name of another explanation method to compare with, and that method.
        seed: Of the sample, the random order and the typos.
    """
    explained = _explain(explainer, _sample(reviews, seed), "explaining")
    several = [review for review in explained if len(review.sentences) > 1]
    orders: dict[str, list[list[int]]] = {
        "weights": [_descending(review.explanation.support) for review in several]
    }
    if other:
        name, scores = other
        orders[name] = _order_by(several, scores, name)
    orders |= _blind_orders(several, seed)
    return ExplanationQuality(
        reviews=len(explained),
        deletion=_deletion(explainer, several, seed),
        rankings=_rankings(explainer, several, orders),
        counterfactuals=_counterfactuals(explained),
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


def _descending(values: Sequence[float]) -> list[int]:
    """Return the indices of `values`, the largest value first."""
    return sorted(range(len(values)), key=lambda n: -values[n])


def _blind_orders(explained: Sequence[_Explained], seed: int) -> dict[str, list[list[int]]]:
    """Return orders of the sentences that do not use the prediction."""
    counts = [len(review.sentences) for review in explained]
    return {
        "random": [
            Random(f"{seed}-{n}").sample(range(count), count) for n, count in enumerate(counts)
        ],
        "from the start": [list(range(count)) for count in counts],
        "from the end": [list(range(count))[::-1] for count in counts],
    }


def _order_by(explained: Sequence[_Explained], scores: Scores, name: str) -> list[list[int]]:
    orders = []
    for review in tqdm(explained, name, unit=" reviews"):
        sign = 1 if review.label == "positive" else -1
        weights = scores(review.text, review.sentences)
        orders.append(_descending([sign * weight for weight in weights]))
    return orders


def _deletion(explainer: Explainer, explained: Sequence[_Explained], seed: int) -> DeletionEffect:
    if not explained:
        return DeletionEffect(0, 0.0, 0.0, None)
    without_heaviest, without_other = [], []
    for n, review in enumerate(explained):
        heaviest = max(review.sentences, key=lambda part: abs(part.weight))
        others = [part for part in review.sentences if part is not heaviest]
        other = _similar_length(heaviest, others, Random(f"{seed}+{n}"))
        without_heaviest.append(without(review.text, [heaviest]))
        without_other.append(without(review.text, [other]))
    labels = [review.label for review in explained]
    whole = _log_odds(explainer, [review.text for review in explained], labels, "originals")

    def mean_change(texts: Sequence[str], title: str) -> float:
        return float(np.abs(whole - _log_odds(explainer, texts, labels, title)).mean())

    heaviest_change = mean_change(without_heaviest, "without the heaviest sentence")
    random_change = mean_change(without_other, "without a random sentence")
    ratio = heaviest_change / random_change if random_change else None
    return DeletionEffect(len(explained), heaviest_change, random_change, ratio)


def _similar_length(sentence: Part, others: Sequence[Part], random: Random) -> Part:
    """Choose one of `others` of similar length at random; if there is none, the nearest."""

    def difference(part: Part) -> float:
        return abs((part.end - part.start) / (sentence.end - sentence.start) - 1)

    similar = [part for part in others if difference(part) <= _SIMILAR]
    return random.choice(similar) if similar else min(others, key=difference)


def _rankings(
    explainer: Explainer,
    explained: Sequence[_Explained],
    orders: Mapping[str, Sequence[Sequence[int]]],
) -> list[SentenceRanking]:
    labels = [review.label for review in explained]
    whole = _probabilities(explainer, [review.text for review in explained], labels, "originals")
    cuts = [(keep, portion) for keep in (False, True) for portion in DELETION_SHARES]
    rankings = []
    for name, order_of_each in orders.items():
        texts = [
            _cut(review, order, portion, keep=keep)
            for keep, portion in cuts
            for review, order in zip(explained, order_of_each, strict=True)
        ]
        left = _probabilities(explainer, texts, labels * len(cuts), f"order: {name}")
        lost = (whole - left.reshape(len(cuts), -1)).sum(axis=1) / max(1, len(explained))
        comprehensiveness, sufficiency = lost.reshape(2, -1).tolist()
        rankings.append(SentenceRanking(name, comprehensiveness, sufficiency))
    return rankings


def _cut(review: _Explained, order: Sequence[int], portion: float, *, keep: bool) -> str:
    """Delete the first sentences of `order`, at least `portion` of the text; or keep only them."""
    lengths = [part.end - part.start for part in review.sentences]
    first: list[int] = []
    for n in order[:-1]:  # never all of them
        first.append(n)
        if sum(lengths[k] for k in first) >= portion * sum(lengths):
            break
    deleted = [part for n, part in enumerate(review.sentences) if (n in first) != keep]
    return without(review.text, deleted)


def _probabilities(
    scorer: Scorer, texts: Sequence[str], labels: Sequence[str], title: str
) -> NDArray[np.float64]:
    """Return the probability of the label given for each text."""
    columns = [scorer.labels.index(label) for label in labels]
    return np.asarray(score(scorer, texts, title)[np.arange(len(texts)), columns])


def _log_odds(
    scorer: Scorer, texts: Sequence[str], labels: Sequence[str], title: str
) -> NDArray[np.float64]:
    clipped = _probabilities(scorer, texts, labels, title).clip(_EPSILON, 1 - _EPSILON)
    return np.asarray(np.log(clipped / (1 - clipped)))


def _counterfactuals(explained: Sequence[_Explained]) -> CounterfactualsFound:
    found = [
        (len(review.text), counterfactual)
        for review in explained
        if (counterfactual := review.explanation.counterfactual)
    ]
    of_sentences = [
        (length, counterfactual.parts)
        for length, counterfactual in found
        if counterfactual.unit == "sentences"
    ]
    deleted = [
        sum(part.end - part.start for part in parts) / length for length, parts in of_sentences
    ]
    return CounterfactualsFound(
        found=share(len(found), len(explained)),
        by_words=len(found) - len(of_sentences),
        sizes=[len(parts) for _, parts in of_sentences],
        median_share=float(np.median(deleted)) if deleted else 0.0,
    )


def _stability(
    explainer: Explainer, explained: Sequence[_Explained], seed: int
) -> ExplanationStability:
    texts = [typos(review.text, Random(f"{seed}-typos-{n}")) for n, review in enumerate(explained)]
    pairs = list(zip(explained, _explain(explainer, texts, "explaining with typos"), strict=True))
    same_label = [(old, new) for old, new in pairs if old.label == new.label]
    weights = [
        (np.array(old.explanation.support), np.array(new.explanation.support))
        for old, new in same_label
        if len(old.sentences) == len(new.sentences) > 1
    ]
    kept = sum(bool(np.abs(old).argmax() == np.abs(new).argmax()) for old, new in weights)
    correlations = [
        spearmanr(old, new).statistic
        for old, new in weights
        if len(old) > 2 and np.ptp(old) and np.ptp(new)  # equal weights have no order
    ]
    return ExplanationStability(
        same_label=share(len(same_label), len(pairs)),
        same_heaviest=share(kept, len(weights)),
        correlation=float(np.median(correlations)) if correlations else 0.0,
    )
