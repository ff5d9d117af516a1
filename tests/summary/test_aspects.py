from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from reelsense.inference.call_context import CallContext
from reelsense.report.results import Share
from reelsense.summary.aspects import (
    MAX_SAMPLE,
    Mention,
    find_mentions,
    sample_step,
    summarize_aspects,
)
from tests import tiny


@given(st.integers(0, 10_000_000))
def test_sample_is_as_large_as_allowed(rows: int) -> None:
    step = sample_step(rows)
    sampled = -(-rows // step)
    assert sampled <= MAX_SAMPLE
    assert step == 1 or sampled > MAX_SAMPLE // 2 - 1


def test_find_mentions_quotes_each_row() -> None:
    texts = {3: "The music is great, but the plot is bad.", 7: " ", 9: "The music is great."}
    predict = tiny.classifier().predict_each
    assert [
        (mention.n, mention.aspect, mention.quote, mention.verdict)
        for mention in find_mentions(predict, texts, CallContext())
    ] == [
        (3, "music", "The music is great", "positive"),
        (3, "story", "but the plot is bad", "negative"),
        (9, "music", "The music is great", "positive"),
    ]


def test_summarize_aspects_counts_mentions_in_the_searched_rows() -> None:
    mentions = [
        Mention(0, "music", "Great music", "positive", 0.9),
        Mention(1, "music", "great music", "positive", 0.95),
        Mention(1, "music", "Fine songs", "positive", 0.8),
        Mention(2, "music", "So-so songs", "unsure", 0.5),
        Mention(2, "music", "Dull score", "negative", 0.1),
        Mention(3, "music", "Not searched", "negative", 0.0),
    ]
    [music] = summarize_aspects(mentions, np.array([0, 1, 2, 8])).aspects
    assert (music.mentions, music.positive) == (5, Share.of(3, 4))
    assert [(quote.n, quote.text) for quote in music.praise] == [
        (1, "great music"),
        (1, "Fine songs"),
    ]
    assert [quote.text for quote in music.criticism] == ["Dull score"]


def test_aspects_with_few_mentions_are_not_ranked() -> None:
    def mentions(aspect: str, positive: int, negative: int) -> list[Mention]:
        verdicts = ["positive"] * positive + ["negative"] * negative
        return [Mention(n, aspect, f"{n}", verdict, 0.5) for n, verdict in enumerate(verdicts)]

    found = [*mentions("music", 20, 0), *mentions("pace", 5, 15), *mentions("story", 19, 0)]
    aspects = summarize_aspects(found, np.arange(30))
    assert [aspect.aspect for aspect in aspects.aspects] == ["music", "story", "pace"]
    assert (aspects.most_praised, aspects.most_criticised) == (["music"], ["pace"])
    assert aspects.rows == 30
