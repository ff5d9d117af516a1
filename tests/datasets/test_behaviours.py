from __future__ import annotations

import re
from collections import Counter
from itertools import product
from random import Random

import pytest

from reelsense.datasets.behaviours import (
    NEUTRAL,
    BehaviourSentences,
    Half,
    article,
    behaviour_sentences,
    fill,
    word_lists,
)

TRAINING = behaviour_sentences("training", 400)
MEASURING = behaviour_sentences("measuring", 150)
NAMES = [
    *("double negation", "emoji", "expectation", "facts", "negation", "question", "ratings"),
    *("reported", "slang", "then and now", "undecided"),
]
HALVES: list[tuple[Half, Half]] = [("training", "measuring"), ("measuring", "training")]


def texts(behaviours: list[BehaviourSentences]) -> list[str]:
    return [sentence.text for behaviour in behaviours for sentence in behaviour.sentences]


@pytest.mark.parametrize(("behaviours", "per_label"), [(TRAINING, 400), (MEASURING, 150)])
def test_every_behaviour_has_enough_distinct_sentences(
    behaviours: list[BehaviourSentences], per_label: int
) -> None:
    assert [behaviour.name for behaviour in behaviours] == NAMES
    for behaviour in behaviours:
        labels = Counter(sentence.label for sentence in behaviour.sentences)
        neutral = behaviour.name in ("facts", "undecided")
        assert set(labels) == ({NEUTRAL} if neutral else {"negative", "positive"})
        assert set(labels.values()) == {per_label}
        assert len({sentence.text for sentence in behaviour.sentences}) == len(behaviour.sentences)


def test_no_sentence_is_in_both_halves() -> None:
    assert set(texts(TRAINING)).isdisjoint(texts(MEASURING))


@pytest.mark.parametrize(("own", "other"), HALVES)
def test_words_of_one_half_are_in_no_sentence_of_the_other(own: Half, other: Half) -> None:
    written = " ".join(texts(TRAINING if other == "training" else MEASURING)).lower()
    for words in word_lists(own).values():
        for word in words:
            assert not re.search(rf"\b{re.escape(word.lower())}\b", written), word


def test_sentences_have_correct_articles_and_capitals() -> None:
    for behaviour in TRAINING + MEASURING:
        for text in texts([behaviour]):
            assert not re.search(r"[{}]|\ba [aeio]|\ban [bcdfgjkmnpqrstvwxyz]", text), text
            assert text == text.strip()
            if behaviour.name != "slang":  # which has sentences without a capital
                assert not re.search(r"^[a-z]|[a-z][.?!] [a-z]", text), text


def test_behaviour_sentences_are_repeatable() -> None:
    assert behaviour_sentences("measuring", 150) == MEASURING


def test_context_is_added_to_some_opinions_but_not_to_facts() -> None:
    facts = {
        sentence.text
        for behaviour in TRAINING
        if behaviour.name == "facts"
        for sentence in behaviour.sentences
    }
    endings = [fact for fact in facts if len(fact.split()) > 3]
    [negation] = [behaviour for behaviour in TRAINING if behaviour.name == "negation"]
    with_context = sum(
        any(fact in sentence.text for fact in endings) for sentence in negation.sentences
    )
    assert 50 < with_context < 600
    assert max(len(re.findall(r"[.?!](?: |$)", fact)) for fact in facts) == 1


def test_fill_repeats_placeholders_except_numbered_ones() -> None:
    words = {"film": ["epic", "saga"]}
    for seed in range(20):
        first, again, other = fill("{film} {film} {film2}", words, Random(seed)).lower().split()
        assert first == again != other
    assert fill("so {a film}. {film}!", {"film": ["epic"]}, Random(0)) == "so an epic. epic!"
    assert fill('"{a film}", he said. {film}!', {"film": ["epic"]}, Random(0)) == (
        '"An epic", he said. Epic!'
    )


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        *(product(["actor", "old", "80-year-old", "HIV-positive", "Uzbek", "LGBT"], ["an"])),
        *(product(["film", "Ukrainian", "one-armed", "Unitarian", "70-year-old"], ["a"])),
    ],
)
def test_article(word: str, expected: str) -> None:
    assert article(word) == expected
