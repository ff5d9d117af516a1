"""Aspects of films in the rows of a table: which are praised, which are criticised, and quotes.

Aspects need a prediction for each clause. In a large table, they are searched in a sample.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reelsense.bulk.rows import as_read
from reelsense.inference.aspects import Predict, find_aspects_each
from reelsense.inference.call_context import CallContext
from reelsense.prediction import UNSURE
from reelsense.report.results import Share
from reelsense.summary.results import Aspects, AspectSummary, Quote
from reelsense.text.clean import clean_with_offsets

MAX_SAMPLE = 2000  # rows of a table in which aspects are searched
MIN_RANKED = 20  # groups of fewer rows, and aspects of fewer mentions, are not ranked
_MAX_QUOTES = 3
_MAX_QUOTE = 300  # characters
_MAX_RANKED = 3


@dataclass(frozen=True, slots=True)
class Mention:
    """A clause of row `n` that judges an aspect."""

    n: int
    aspect: str
    quote: str
    verdict: str  # positive, negative or unsure
    positive: float


def sample_step(rows: int) -> int:
    """Return the distance between the rows in which aspects are searched, a power of two."""
    step = 1
    while rows > MAX_SAMPLE * step:
        step *= 2
    return step


def find_mentions(
    predict: Predict, texts: Mapping[int, str], context: CallContext
) -> list[Mention]:
    """Return the mentions of aspects in the `texts` of rows, by row number."""
    cleaned = {n: clean_with_offsets(text) for n, text in texts.items() if text.strip()}
    found = find_aspects_each(cleaned.values(), predict, context)
    return [
        Mention(
            n,
            mention.aspect,
            as_read(texts[n], mention)[:_MAX_QUOTE],
            mention.verdict,
            mention.positive,
        )
        for n, mentions in zip(cleaned, found, strict=True)
        for mention in mentions
    ]


def summarize_aspects(mentions: Iterable[Mention], searched: NDArray[np.intp]) -> Aspects:
    """Return the aspects in the rows `searched`, whose numbers are in ascending order."""
    rows = set(searched.tolist())
    by_aspect: dict[str, list[Mention]] = {}
    for mention in mentions:
        if mention.n in rows:
            by_aspect.setdefault(mention.aspect, []).append(mention)
    aspects = [_aspect(aspect, found) for aspect, found in by_aspect.items()]
    aspects.sort(key=lambda aspect: (-aspect.positive.value, -aspect.positive.total))
    ranked = [part.aspect for part in aspects if part.positive.total >= MIN_RANKED]
    praised = ranked[: min(_MAX_RANKED, (len(ranked) + 1) // 2)]
    return Aspects(
        rows=len(rows),
        aspects=aspects,
        most_praised=praised,
        most_criticised=[name for name in reversed(ranked) if name not in praised][:_MAX_RANKED],
    )


def _aspect(aspect: str, mentions: Sequence[Mention]) -> AspectSummary:
    decided = [mention for mention in mentions if mention.verdict != UNSURE]
    positive = sum(mention.verdict == "positive" for mention in decided)
    return AspectSummary(
        aspect=aspect,
        mentions=len(mentions),
        positive=Share.of(positive, len(decided)),
        praise=_quotes(decided, "positive", -1),
        criticism=_quotes(decided, "negative", 1),
    )


def _quotes(mentions: Sequence[Mention], verdict: str, sign: int) -> list[Quote]:
    """Return the clearest different clauses with a verdict."""
    clear = sorted(
        (mention for mention in mentions if mention.verdict == verdict),
        key=lambda mention: (sign * mention.positive, mention.n),
    )
    distinct = {mention.quote.casefold(): mention for mention in reversed(clear)}
    chosen = list(reversed(distinct.values()))[:_MAX_QUOTES]
    return [Quote(mention.n, mention.quote, mention.positive) for mention in chosen]
