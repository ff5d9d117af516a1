"""Measure explanations: how the prediction changes when the sentences they select are deleted.

Comprehensiveness and sufficiency (DeYoung et al. 2020, "ERASER: A Benchmark to Evaluate
Rationalized NLP Models") of whole sentences, compared with orders that do not use the prediction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit
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

_SAMPLE = 500  # reviews to explain, the same number of each label
_SIMILAR = 0.5  # maximum relative difference of similar lengths
_EPSILON = 1e-9  # probabilities are clipped to this distance from 0 and 1 for their log-odds

# An explanation method: a text and its sentences to the weight of each for "positive".
Scores = Callable[[str, Sequence[Part]], Sequence[float]]


class Explainer(Scorer, Protocol):
    """A classifier that explains its predictions, such as `reelsense.Classifier`."""

    def explain(self, text: str) -> Explanation:
        """See `Classifier.explain`."""
        ...


_Explained = Sequence[tuple[str, Explanation]]
_Orders = Sequence[Sequence[int]]  # for each text, the indices of its sentences


def measure_explanations(
    explainer: Explainer,
    reviews: Sequence[Review],
    other: tuple[str, Scores] | None = None,
    seed: int = 0,
) -> ExplanationQuality:
    """Measure the explanations of up to 500 labelled `reviews`, balanced by label.

    Counterfactuals and stability are measured on all of them, rankings on those with two sentences
    or more. `other` is another explanation method to compare with, after its name.
    """
    explained = _explain(explainer, _sample(reviews, seed), "explaining")
    several = [pair for pair in explained if len(pair[1].sentences) > 1]
    orders: dict[str, _Orders] = {
        "weights": [_descending(explanation.support) for _, explanation in several]
    }
    if other:
        name, scores = other
        orders[name] = _order_by(several, scores, name)
    counts = [len(explanation.sentences) for _, explanation in several]
    orders["random"] = [
        Random(f"{seed}-{n}").sample(range(count), count) for n, count in enumerate(counts)
    ]
    orders["from the start"] = [range(count) for count in counts]
    orders["from the end"] = [range(count)[::-1] for count in counts]
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


def _explain(explainer: Explainer, texts: Sequence[str], title: str) -> _Explained:
    return [(text, explainer.explain(text)) for text in tqdm(texts, title, unit=" reviews")]


def _descending(values: Sequence[float]) -> list[int]:
    """Return the indices of `values`, the largest value first."""
    return sorted(range(len(values)), key=lambda n: -values[n])


def _order_by(explained: _Explained, scores: Scores, name: str) -> _Orders:
    orders = []
    for text, explanation in tqdm(explained, name, unit=" reviews"):
        sign = 1 if explanation.prediction.label == "positive" else -1
        weights = scores(text, explanation.sentences)
        orders.append(_descending([sign * weight for weight in weights]))
    return orders


def _deletion(explainer: Explainer, explained: _Explained, seed: int) -> DeletionEffect:
    if not explained:
        return DeletionEffect(0, 0.0, 0.0, None)
    without_heaviest, without_other = [], []
    for n, (text, explanation) in enumerate(explained):
        heaviest = max(explanation.sentences, key=lambda part: abs(part.weight))
        others = [part for part in explanation.sentences if part is not heaviest]
        other = _similar_length(heaviest, others, Random(f"{seed}+{n}"))
        without_heaviest.append(without(text, [heaviest]))
        without_other.append(without(text, [other]))

    def log_odds(texts: Sequence[str], title: str) -> NDArray[np.float64]:
        probabilities = _label_probabilities(explainer, explained, texts, title)
        return np.asarray(logit(probabilities.clip(_EPSILON, 1 - _EPSILON)))

    whole = log_odds([text for text, _ in explained], "originals")
    without_heaviest_odds = log_odds(without_heaviest, "without the heaviest sentence")
    without_other_odds = log_odds(without_other, "without a random sentence")
    heaviest_change = float(np.abs(whole - without_heaviest_odds).mean())
    other_change = float(np.abs(whole - without_other_odds).mean())
    ratio = heaviest_change / other_change if other_change else None
    return DeletionEffect(len(explained), heaviest_change, other_change, ratio)


def _similar_length(sentence: Part, others: Sequence[Part], random: Random) -> Part:
    """Choose one of `others` of similar length at random; if there is none, the nearest."""

    def difference(part: Part) -> float:
        return abs((part.end - part.start) / (sentence.end - sentence.start) - 1)

    similar = [part for part in others if difference(part) <= _SIMILAR]
    return random.choice(similar) if similar else min(others, key=difference)


def _rankings(
    explainer: Explainer, explained: _Explained, orders_by_name: Mapping[str, _Orders]
) -> list[SentenceRanking]:
    originals = [text for text, _ in explained]
    whole = _label_probabilities(explainer, explained, originals, "originals")
    cuts = [(keep, portion) for keep in (False, True) for portion in DELETION_SHARES]
    rankings = []
    for name, orders in orders_by_name.items():
        texts = [
            _cut(text, explanation.sentences, order, portion, keep=keep)
            for keep, portion in cuts
            for (text, explanation), order in zip(explained, orders, strict=True)
        ]
        left = _label_probabilities(explainer, explained, texts, f"order: {name}")
        lost = (whole - left.reshape(len(cuts), -1)).sum(axis=1) / max(1, len(explained))
        comprehensiveness, sufficiency = lost.reshape(2, -1).tolist()
        rankings.append(SentenceRanking(name, comprehensiveness, sufficiency))
    return rankings


def _cut(
    text: str, sentences: Sequence[Part], order: Sequence[int], portion: float, *, keep: bool
) -> str:
    """Delete the first sentences of `order`, at least `portion` of `text`; or keep only them."""
    lengths = [part.end - part.start for part in sentences]
    first: list[int] = []
    for n in order[:-1]:  # never all of them
        first.append(n)
        if sum(lengths[k] for k in first) >= portion * sum(lengths):
            break
    return without(text, [part for n, part in enumerate(sentences) if (n in first) != keep])


def _label_probabilities(
    scorer: Scorer, explained: _Explained, texts: Sequence[str], title: str
) -> NDArray[np.float64]:
    """Return the probability of the explained label for each text.

    `texts` are as many as `explained`, in that order, or a multiple of them.
    """
    columns = [scorer.labels.index(explanation.prediction.label) for _, explanation in explained]
    repeated = columns * (len(texts) // max(1, len(columns)))
    return np.asarray(score(scorer, texts, title)[np.arange(len(texts)), repeated])


def _counterfactuals(explained: _Explained) -> CounterfactualsFound:
    counterfactuals = [
        (len(text), explanation.counterfactual)
        for text, explanation in explained
        if explanation.counterfactual
    ]
    of_sentences = [
        (length, counterfactual.parts)
        for length, counterfactual in counterfactuals
        if counterfactual.unit == "sentences"
    ]
    deleted = [
        sum(part.end - part.start for part in parts) / length for length, parts in of_sentences
    ]
    return CounterfactualsFound(
        found=share(len(counterfactuals), len(explained)),
        by_words=len(counterfactuals) - len(of_sentences),
        sizes=[len(parts) for _, parts in of_sentences],
        median_share=float(np.median(deleted)) if deleted else 0.0,
    )


def _stability(explainer: Explainer, explained: _Explained, seed: int) -> ExplanationStability:
    texts = [typos(text, Random(f"{seed}-typos-{n}")) for n, (text, _) in enumerate(explained)]
    with_typos = _explain(explainer, texts, "explaining with typos")
    same_label = [
        (old, new)
        for (_, old), (_, new) in zip(explained, with_typos, strict=True)
        if old.prediction.label == new.prediction.label
    ]
    weights = [
        (np.array(old.support), np.array(new.support))
        for old, new in same_label
        if len(old.sentences) == len(new.sentences) > 1
    ]
    same_heaviest = sum(bool(np.abs(old).argmax() == np.abs(new).argmax()) for old, new in weights)
    correlations = [
        spearmanr(old, new).statistic
        for old, new in weights
        if len(old) > 2 and np.ptp(old) and np.ptp(new)  # equal weights have no order
    ]
    return ExplanationStability(
        same_label=share(len(same_label), len(explained)),
        same_heaviest=share(same_heaviest, len(weights)),
        correlation=float(np.median(correlations)) if correlations else 0.0,
    )
