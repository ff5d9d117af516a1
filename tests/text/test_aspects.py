import re
import time

import pytest
from hypothesis import given

from reelsense.text.aspects import aspect_clauses, clause_parts, lexicon
from reelsense.text.clean import Span, clean_with_offsets, sentences
from tests.text.test_clean import Texts


def judged(text: str) -> list[tuple[str, str]]:
    layout = clean_with_offsets(text).layout
    return [
        (clause.aspect, layout[clause.span.start : clause.span.end])
        for sentence in sentences(layout)
        for clause in aspect_clauses(layout, sentence)
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The acting is superb.", [("acting", "The acting is superb")]),
        ("Lee is great as the aunt.", [("acting", "Lee is great as the aunt")]),
        ("What a thin plot it has!", [("story", "What a thin plot it has!")]),
        ("Okafor directs with a sure hand.", [("directing", "Okafor directs with a sure hand")]),
        ("I loved the songs.", [("music", "I loved the songs")]),
        ("It is beautifully shot.", [("visuals", "It is beautifully shot")]),
        ("It didn\u2019t make me laugh.", [("humour", "It didn\u2019t make me laugh")]),
        ("The actors can\u2019t act.", [("acting", "The actors can\u2019t act")]),
        ("The second half drags.", [("pace", "The second half drags")]),
        ("It made me laugh out loud.", [("humour", "It made me laugh out loud")]),
        ("The monsters look very fake.", [("effects", "The monsters look very fake")]),
        ("Nobody talks like this.", [("dialogue", "Nobody talks like this")]),
        ("The last scene is a letdown.", [("ending", "The last scene is a letdown")]),
    ],
)  # fmt: skip
def test_aspect_clauses_finds_every_aspect(text: str, expected: list[tuple[str, str]]) -> None:
    assert judged(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "The music is by Ana Reyes.",
        "It won an award for its great music.",
        "He joins a band, and their music brings the village together.",
        "A masterpiece! I loved every scene.",
        "It was superb.",
        "I expected great music.",
        "Critics praised the music.",
        "At the end of the war, a good man comes home.",
        "In the end, it is a fine film.",
        "The film was directed by the man who made that awful comedy.",
        "They play the wonderful game until the final score.",
        "She plays a good teacher who finds a terrible secret.",
        "He wrote a plot against the evil king.",
        "The pace of life in the lovely village suits him.",
        "It is so bad that it's funny.",
        "Fans of good action will know him.",
        "The DVD has a wonderful score on a second disc.",
    ],
)
def test_aspect_clauses_ignores_plot_facts_and_the_whole_film(text: str) -> None:
    assert judged(text) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "The acting is good, but the plot is weak.",
            [("acting", "The acting is good"), ("story", "but the plot is weak")],
        ),
        (
            "Great acting, music and costumes.",
            [("acting", "Great acting"), ("music", "Great acting, music"),
             ("visuals", "Great acting, music and costumes")],
        ),
        (
            "The acting, music and costumes are great.",
            [("acting", "The acting, music and costumes are great"),
             ("music", "music and costumes are great"), ("visuals", "costumes are great")],
        ),
        (
            "Great acting, overacting, music.",
            [("acting", "Great acting"), ("music", "Great acting, overacting, music"),
             ("acting", "overacting")],
        ),
        ("Great sets and costumes.", [("visuals", "Great sets and costumes")]),
        ("The sets, the costumes are great.", [("visuals", "The sets, the costumes are great")]),
        ("The plot is a dull, lazy mess.", [("story", "The plot is a dull, lazy mess")]),
        ("It drags on and on and on.", [("pace", "It drags on and on and on")]),
        (
            "A funny performance (the songs are awful).",
            [("acting", "A funny performance"), ("humour", "A funny performance"),
             ("music", "the songs are awful")],
        ),
    ],
)  # fmt: skip
def test_aspect_clauses_divides_sentences(text: str, expected: list[tuple[str, str]]) -> None:
    assert judged(text) == expected


@pytest.mark.parametrize(
    ("text", "is_judged"),
    [
        ("great music", True),
        ("great man of music", False),
        ("great moments of humour", True),
        ("the music in this film is great", True),
        ("the music of a great man", False),
        ("music so dull", True),
        ("I hate the music", True),
        ("a dull man hears the music", False),
        ("how awful the music is", True),
        ("the music plays when the awful man dies", False),
        ("music lovers are great", False),
    ],
)
def test_opinion_judges_the_noun_that_word_order_suggests(text: str, is_judged: bool) -> None:
    assert bool(judged(text)) == is_judged


@given(Texts)
def test_aspect_clauses_are_in_order_and_within_their_sentence(text: str) -> None:
    layout = clean_with_offsets(f"The music is great, {text} but the plot is thin.").layout
    for sentence in sentences(layout):
        parts = clause_parts(layout, sentence)
        ends = [sentence.start, *(part.span.end for part in parts)]
        for end, part in zip(ends, parts, strict=False):
            assert end <= part.span.start < part.span.end <= sentence.end
            quote = layout[part.span.start : part.span.end]
            assert quote.replace("\u2019", "'") == part.text
        clauses = aspect_clauses(layout, sentence)
        starts = [clause.span.start for clause in clauses]
        assert starts == sorted(starts)
        for clause in clauses:
            assert sentence.start <= clause.span.start < clause.span.end <= sentence.end


def test_named_yields_aspects_without_an_opinion() -> None:
    [part] = clause_parts("The music of a band", Span(0, 19))
    [(aspect, [match])] = lexicon().named(part)
    assert (aspect, match[0], match.lastgroup) == ("music", "music", "term")


@pytest.mark.parametrize(
    "text",
    [
        "music," * 9000,
        "A.A." * 9000,
        "bad/music/" * 9000,
        "n't" * 9000,
        "A" + "a" * 90_000 + " is great",
        "bad/" * 400 + "music/" * 100,
        "great " * 3000,
        "the acting, " * 3000,
    ],
)
def test_aspect_clauses_takes_linear_time(text: str) -> None:
    judged("warm up")
    start = time.process_time()
    judged(text)
    assert time.process_time() - start < 5


def test_lexicon_entries_are_patterns_without_repetition_of_any_length_before_words() -> None:
    """A nested repetition would take quadratic or exponential time."""
    for pattern in (*lexicon().aspects.values(), lexicon().opinions, lexicon().reports):
        assert not re.search(r"[*+]\)[*+]|\.[*+]", pattern.pattern)
