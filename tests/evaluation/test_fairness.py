from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from reelsense.errors import InputError
from reelsense.evaluation import identities
from reelsense.evaluation.fairness import (
    CATEGORIES,
    TOLERANCE,
    Swaps,
    sentence_swaps,
    template_swaps,
)
from tests import tiny

WORDS = {category.name: category.words for category in identities.CATEGORIES}


class Biased:
    """Finds texts as positive as `how` says, and keeps them."""

    labels = ("positive", "negative")

    def __init__(self, how: Callable[[str], float] = lambda _: 0.6) -> None:
        self.how = how
        self.texts: list[str] = []

    def predict_proba(self, texts: Sequence[str]) -> NDArray[np.float64]:
        self.texts += texts
        positive = np.array([self.how(text) for text in texts])
        return np.stack([positive, 1 - positive], axis=1)


def sentences(*texts: str, category: str) -> list[str]:
    """What is scored for `category` when the reviews are `texts`."""
    scorer = Biased()
    found = sentence_swaps(scorer, texts)
    sizes = [one.flips.total * len(WORDS[one.category]) for one in found]
    names = [one.category for one in found]
    if category not in names:
        return []
    start = sum(sizes[: names.index(category)])
    return scorer.texts[start : start + sizes[names.index(category)]]


def by_category(found: Sequence[Swaps]) -> dict[str, Swaps]:
    return {one.category: one for one in found}


def test_a_planted_bias_shows_in_the_templates() -> None:
    found = by_category(template_swaps(Biased(lambda text: 0.3 if "Muslim" in text else 0.6)))
    assert tuple(found) == CATEGORIES
    religion = found["religion"]
    assert religion.source == "templates"
    assert religion.flips.count == religion.flips.total >= 10
    assert religion.mean_range == pytest.approx(0.3)
    assert religion.groups[0].word == "Muslim"
    assert [group.mean for group in religion.groups] == pytest.approx([0.3] + [0.6] * 9)
    assert {group.texts for group in religion.groups} == {religion.flips.total}
    low, high = religion.widest
    assert "Muslim" in low
    assert "Muslim" not in high
    assert found["race"].flips.count == 0
    assert found["race"].mean_range == 0


def test_the_widest_set_and_the_tolerance() -> None:
    """Most sets lie less than `TOLERANCE` apart, the one with the wedding does not."""

    def how(text: str) -> float:
        if "Sikh wedding" in text:
            return 0.9
        return 0.6 - TOLERANCE / 2 if "Hindu" in text else 0.6

    religion = by_category(template_swaps(Biased(how)))["religion"]
    assert religion.flips.count == 1
    assert religion.widest == ("A Hindu wedding.", "A Sikh wedding.")
    assert religion.groups[-1].word == "Sikh"
    assert religion.groups[0].mean == pytest.approx(0.55)


def test_an_unbiased_classifier() -> None:
    found = template_swaps(Biased())
    assert [one.flips.count for one in found] == [0] * len(CATEGORIES)
    assert [one.mean_range for one in found] == [0.0] * len(CATEGORIES)


def test_templates_read_well() -> None:
    scorer = Biased()
    found = template_swaps(scorer)
    assert len(set(scorer.texts)) == len(scorer.texts)
    for text in scorer.texts:
        assert not text[0].islower()
        assert text.endswith(".")
        assert not re.search(r"[{}]|\b[Aa] [AEIOUaeiou8]|\b[Aa]n [^AEIOUaeiou8]", text)
    assert min(one.flips.total for one in found) >= 10
    assert "An atheist hero." in scorer.texts
    assert "The film is about an 80-year-old doctor." in scorer.texts
    assert "It is a warm story about a non-binary person and their neighbours." in scorer.texts
    assert "A trans woman tried to save the club, but the story around her dragged." in scorer.texts


def test_a_sentence_is_swapped_whole() -> None:
    text = "Well.<br />It is about an Asian woman &amp; her dog! I slept."
    assert sentences(text, category="race") == [
        f"It is about {one} woman & her dog!"
        for one in (
            *("a black", "a white", "an Asian", "a Hispanic", "an Arab", "a mixed-race"),
            *("an African American", "a Native American"),
        )
    ]


def test_capitals_at_the_start_and_articles_in_quotes() -> None:
    young = sentences("Young people will like this film.", category="age")
    assert young[:2] == ["Teenage people will like this film.", "Young people will like this film."]
    atheist = sentences("An atheist teacher and an old church.", category="religion")
    assert atheist[0] == "A Christian teacher and an old church."
    assert atheist[-1] == "An atheist teacher and an old church."
    quoted = sentences('The film calls her "an elderly woman" twice.', category="age")
    assert quoted[0] == 'The film calls her "a teenage woman" twice.'


@pytest.mark.parametrize(
    ("category", "sentence"),
    [
        ("religion", "I loved Christian Slater in this one."),
        ("religion", "Then Christian People Magazine wrote about it."),
        ("religion", "The Jewish girl meets the Muslim boy there."),
        ("nationality", "They polish people off one by one."),
        ("nationality", "Those French windows were all broken."),
        ("nationality", "The South Korean director is well known."),
        ("nationality", "It is about an African American family."),
        ("race", "This is a fine black comedy."),
        ("race", "It was shot in black and white."),
        ("race", "The black man met a white woman."),
        ("race", "He wore the man-in-black suit again."),
        ("gender", "The Man with the Golden Arm again."),
        ("gender", "Oh man, what was that about?"),
        ("gender", "It shows a man and his dog."),
        ("gender", "It shows a gay man in Paris."),
        ("orientation", "They sat with a straight face throughout."),
        ("orientation", "The straight man of the duo sings."),
        ("age", "A very old man walks on the stage."),
        ("age", "They met an old friend of ours."),
        ("age", "An old man!"),
        ("age", "It begins with an old man " + "and so on " * 12 + "."),
    ],
)
def test_sentences_that_will_not_do(category: str, sentence: str) -> None:
    assert sentences(sentence, category=category) == []


@pytest.mark.parametrize(
    ("category", "sentence"),
    [
        ("religion", "A Christian family takes them in."),
        ("nationality", "We saw the Polish actor there."),
        ("race", "The black actress sings in it."),
        ("gender", "It shows an old man in Paris."),
        ("orientation", "It is about a lesbian couple."),
        ("age", "An old man walks on the stage."),
    ],
)
def test_sentences_that_will_do(category: str, sentence: str) -> None:
    texts = sentences(sentence, category=category)
    assert len(set(texts)) == len(texts) == len(WORDS[category])
    assert sentence in texts


def test_a_planted_bias_shows_in_the_sentences() -> None:
    texts = ["A white cop drives around. The gay couple was fun.", "Two black women meet here."]
    scorer = Biased(lambda text: 0.2 if "black" in text else 0.7 if "white" in text else 0.5)
    found = by_category(sentence_swaps(scorer, texts))
    assert tuple(found) == ("race", "orientation")
    race = found["race"]
    assert (race.source, race.flips.count, race.flips.total) == ("sentences", 2, 2)
    assert race.mean_range == pytest.approx(0.5)
    assert (race.groups[0].word, race.groups[-1].word) == ("black", "white")
    assert race.widest == ("A black cop drives around.", "A white cop drives around.")
    assert found["orientation"].flips.count == 0


def test_no_more_than_asked_for_and_always_the_same() -> None:
    texts = [f"The old man number {n} walks by." for n in range(20)] * 2
    first, second = Biased(), Biased()
    found = sentence_swaps(first, texts, most=3)
    assert [one.flips.total for one in found if one.category == "age"] == [3]
    assert sentence_swaps(second, texts, most=3) == found
    assert first.texts == second.texts
    assert sentence_swaps(first, texts, most=0) == []
    assert sentence_swaps(first, []) == []


@given(
    st.lists(
        st.sampled_from(
            ["a", "An", "the", "MAN", "old", "black", "Polish", "people", ".", "\u017fikh"]
        )
        | st.text(),
        max_size=30,
    ).map(" ".join)
)
def test_no_text_is_too_odd(text: str) -> None:
    for one in sentence_swaps(Biased(), [text]):
        assert one.flips.count == 0


def test_without_a_positive_label() -> None:
    for measured in (template_swaps, lambda scorer: sentence_swaps(scorer, [])):
        with pytest.raises(InputError, match=r"\"positive\"; the model has \['good', 'bad'\]"):
            measured(tiny.classifier(("good", "bad")))
