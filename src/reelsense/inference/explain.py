"""Attribute a prediction to sentences and words, and search a counterfactual.

Selects the parts to remove; `occlusion` scores the text without them. Cheap heuristics, such as the
score of a sentence alone, only select what is measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reelsense.inference.occlusion import Occlusion, log_odds
from reelsense.text.clean import Span, sentences, words

BUDGET = 200  # default of the maximum forward passes, in addition to those of the text itself
MIN_BUDGET = 16

_PARTS_PER_PASSAGE = 8  # a passage is divided into
_MAX_WORDS = 3  # weighed in the whole text: those with the largest effect within their sentence
_MIN_WORD_EFFECT = 0.25  # of such a word, relative to the largest effect
_BUDGET_PER_SET = 25  # the search for a counterfactual scores one set of parts per 25 of the budget


@dataclass(frozen=True, slots=True)
class Contribution:
    """A span of the cleaned text and its contribution to the log-odds of the target label."""

    span: Span
    weight: float  # nats: the log-odds of the whole text minus those without the span


@dataclass(frozen=True, slots=True)
class Attribution:
    """The contributions of the parts of a text, each list in the order of the text."""

    sentences: list[Contribution]
    words: list[Contribution]
    unit: str  # of `counterfactual`: "sentences" or "words"
    counterfactual: list[Contribution]  # its removal changes the label; empty: not found


def attribute(occlusion: Occlusion, layout: str, target: int, budget: int = BUDGET) -> Attribution:
    """Weigh the sentences of a text and the words of the heaviest, and search a counterfactual.

    Weights refer to the log-odds of the label number `target`. `layout` is `CleanedText.layout`,
    and `budget` the maximum of further forward passes. Sentences of low weight stay grouped in a
    text with many sentences.
    """
    max_passes = occlusion.forward_passes + budget
    weighed = _weigh_sentences(occlusion, sentences(layout), target, budget // 2)
    weighed_words = _weigh_words(occlusion, layout, weighed, target, max_passes - budget // 4)

    predicted = int(occlusion.logits.argmax())
    supporting = _supporting(weighed, predicted, target)
    ranked = _rank_sentences(occlusion, weighed, supporting, predicted, max_passes)
    heaviest = supporting[0] if supporting and len(weighed) > 1 else None
    unit = "sentences"
    search = _CounterfactualSearch(occlusion, predicted, max_passes, budget)
    counterfactual = search.find(heaviest, ranked)
    if not counterfactual:
        unit = "words"
        ranked = _supporting(weighed_words, predicted, target)
        search = _CounterfactualSearch(occlusion, predicted, max_passes, budget)
        counterfactual = search.find(ranked[0] if ranked else None, ranked)
    return Attribution(weighed, weighed_words, unit, _in_text_order(counterfactual))


def _weigh(occlusion: Occlusion, spans: Sequence[Span], target: int) -> list[Contribution]:
    if not spans:
        return []
    without = log_odds(occlusion.logits_without_each(spans), target)
    weights = (occlusion.log_odds(target) - without).tolist()
    return [Contribution(span, weight) for span, weight in zip(spans, weights, strict=True)]


def _weigh_sentences(
    occlusion: Occlusion, spans: Sequence[Span], target: int, budget: int
) -> list[Contribution]:
    """Weigh sentences; if there are too many, passages, and the parts of the heaviest passages.

    A part that crosses the edge of a window costs two forward passes.
    """
    max_passes = occlusion.forward_passes + budget

    def weigh(passages: Sequence[Sequence[Span]]) -> list[tuple[Contribution, Sequence[Span]]]:
        wholes = [Span(passage[0].start, passage[-1].end) for passage in passages]
        return list(zip(_weigh(occlusion, wholes, target), passages, strict=True))

    size = 1 if len(spans) <= budget // 2 else -(-4 * len(spans) // budget)
    weighed = weigh(_chunks(spans, size))
    while divisible := [pair for pair in weighed if len(pair[1]) > 1]:
        heaviest = min(divisible, key=lambda pair: _heaviest_first(pair[0]))
        parts = _chunks(heaviest[1], -(-len(heaviest[1]) // _PARTS_PER_PASSAGE))
        if occlusion.forward_passes + 2 * len(parts) > max_passes:
            break
        weighed.remove(heaviest)
        weighed += weigh(parts)
    return _in_text_order([contribution for contribution, _ in weighed])


def _chunks(spans: Sequence[Span], size: int) -> list[Sequence[Span]]:
    return [spans[n : n + size] for n in range(0, len(spans), size)]


def _weigh_words(
    occlusion: Occlusion,
    layout: str,
    weighed: Sequence[Contribution],
    target: int,
    max_passes: int,
) -> list[Contribution]:
    """Weigh the words with the largest effect within the heaviest sentence.

    If the text is one sentence, weigh all of its words.
    """
    sentence = min(weighed, key=_heaviest_first).span
    spans = [word for word in words(layout, sentence) if occlusion.has_tokens(word)]
    if len(weighed) > 1:
        passes = max_passes - occlusion.forward_passes - 2 * _MAX_WORDS
        affordable = passes // occlusion.passes_for_parts([sentence]) - 1
        spans = spans[: max(0, affordable)]
        if not spans:
            return []
        logits = occlusion.logits_of_parts([sentence] * (len(spans) + 1), [Span(0, 0), *spans])
        whole, *without = log_odds(logits, target).tolist()
        effects = [abs(whole - odds) for odds in without]
        largest = sorted(range(len(spans)), key=lambda n: -effects[n])[:_MAX_WORDS]
        spans = [spans[n] for n in largest if effects[n] >= _MIN_WORD_EFFECT * effects[largest[0]]]
    affordable = max(0, (max_passes - occlusion.forward_passes) // 2)
    return _in_text_order(_weigh(occlusion, spans[:affordable], target))


def _supporting(
    contributions: Sequence[Contribution], predicted: int, target: int
) -> list[Contribution]:
    """Return the contributions that support the predicted label, the heaviest first."""
    sign = 1 if predicted == target else -1
    supporting = (part for part in contributions if sign * part.weight > 0)
    return sorted(supporting, key=_heaviest_first)


def _rank_sentences(
    occlusion: Occlusion,
    weighed: Sequence[Contribution],
    supporting: Sequence[Contribution],
    predicted: int,
    max_passes: int,
) -> list[Contribution]:
    """Rank the sentences that support the predicted label by the log-odds of each alone.

    Weights would rank them too low where several make the same point: the removal of one of them
    changes little. The last of all sentences is left out.
    """
    spans = [sentence.span for sentence in weighed]
    passes = occlusion.passes_for_parts(spans)
    if len(weighed) < 2 or occlusion.forward_passes + passes > max_passes:
        return []
    alone = log_odds(occlusion.logits_of_parts(spans), predicted)
    ranked = sorted(zip(alone.tolist(), weighed, strict=True), key=lambda pair: -pair[0])
    candidates = [sentence for odds, sentence in ranked if odds > 0 or sentence in supporting]
    return candidates[: len(weighed) - 1]


class _CounterfactualSearch:
    """Searches a small set of parts whose removal changes the predicted label."""

    def __init__(self, occlusion: Occlusion, predicted: int, max_passes: int, budget: int) -> None:
        self._occlusion, self._predicted = occlusion, predicted
        own_passes = max(2, budget // _BUDGET_PER_SET) * occlusion.windows
        self._max_passes = min(max_passes, occlusion.forward_passes + own_passes)

    def find(
        self, heaviest: Contribution | None, ranked: Sequence[Contribution]
    ) -> list[Contribution]:
        """Return `heaviest` if it suffices, else some of the first parts of `ranked`, or none."""
        if (
            heaviest
            and abs(heaviest.weight) > self._occlusion.log_odds(self._predicted)
            and self._can_score(1)
            and self._margins([[heaviest]])[0] < 0
        ):
            return [heaviest]
        return self._shrink(list(ranked[: self._sufficient_prefix(ranked)]))

    def _sufficient_prefix(self, ranked: Sequence[Contribution]) -> int:
        """Return how many of the first parts to remove to change the label; 0 if not found."""
        if not ranked or not self._can_score(1):
            return 0
        if self._margins([ranked])[0] >= 0:
            # The rest may not support another label either; a longer rest may.
            prefixes = [ranked[:n] for n in range(1, min(4, len(ranked)))]
            if not prefixes or not self._can_score(len(prefixes)):
                return 0
            margins = self._margins(prefixes)
            return next((n for n, margin in enumerate(margins, start=1) if margin < 0), 0)
        too_few, enough = 0, len(ranked)
        while enough - too_few > 1 and self._can_score(1):
            middle = (too_few + enough) // 2
            if self._margins([ranked[:middle]])[0] < 0:
                enough = middle
            else:
                too_few = middle
        return enough

    def _shrink(self, chosen: list[Contribution]) -> list[Contribution]:
        """Put parts back as long as the label stays changed."""
        while len(chosen) > 1 and self._can_score(len(chosen)):
            subsets = [[part for part in chosen if part is not kept] for kept in chosen]
            margins = self._margins(subsets)
            if margins.min() >= 0:
                break
            chosen = subsets[int(margins.argmin())]
        return chosen

    def _can_score(self, sets: int) -> bool:
        passes = sets * self._occlusion.windows
        return self._occlusion.forward_passes + passes <= self._max_passes

    def _margins(self, sets: Sequence[Sequence[Contribution]]) -> NDArray[np.float64]:
        """Return the lead of the predicted label without each set; below 0 if it changed."""
        logits = self._occlusion.logits_without_sets(
            [[part.span for part in parts] for parts in sets]
        )
        others = np.delete(logits, self._predicted, axis=1)
        return np.asarray(logits[:, self._predicted] - others.max(axis=1))


def _heaviest_first(part: Contribution) -> float:
    return -abs(part.weight)


def _in_text_order(parts: Sequence[Contribution]) -> list[Contribution]:
    return sorted(parts, key=lambda part: part.span.start)
