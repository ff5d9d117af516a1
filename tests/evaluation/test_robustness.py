from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from reelsense import review
from reelsense.datasets.reviews import Review
from reelsense.errors import InputError
from reelsense.evaluation import robustness
from reelsense.evaluation.phrases import MEN, NEUTRAL, WOMEN
from reelsense.evaluation.robustness import PERTURBATIONS, Flips, flips, pairs
from tests import tiny

WORDS = [
    "don't",
    "it\u2019s",
    "<br />",
    "<BR>",
    "&amp;",
    "&eacute;t&eacute;",
    "R&D",
    "Anna",
    "John's",
]
Texts = st.text() | st.lists(
    st.sampled_from([*WORDS, "The", "balloon", "GREAT", "naïve", "<3", "1930's"]) | st.text(),
    max_size=30,
).map(" ".join)
Seeds = st.integers(0, 1000)
BY_NAME = {perturbation.name: perturbation.change for perturbation in PERTURBATIONS}


class Picky:
    """Answers "positive" where `likes` says so."""

    labels = ("negative", "positive")

    def __init__(self, likes: Callable[[str], bool]) -> None:
        self.likes = likes

    def predict_proba(self, texts: Sequence[str]) -> NDArray[np.float64]:
        return np.array([[0.2, 0.8] if self.likes(text) else [0.7, 0.3] for text in texts])


@given(Texts, Seeds)
@example("", 0)
def test_no_text_is_too_odd_and_the_seed_decides(text: str, seed: int) -> None:
    for change in BY_NAME.values():
        assert change(text, Random(seed)) == change(text, Random(seed))


@given(Texts, Seeds)
def test_words_and_markup_stay(text: str, seed: int) -> None:
    markup = robustness._MARKUP.findall(text)
    for name, change in BY_NAME.items():
        changed = change(text, Random(seed))
        if name == "added neutral sentence":
            both = [(f"{sentence} {text}", f"{text} {sentence}") for sentence in NEUTRAL]
            assert any(changed in places for places in both)
        else:
            assert len(changed.split()) == len(text.split())
            assert robustness._MARKUP.findall(changed)[: len(markup)] == markup


@given(Texts.filter(str.isascii), Seeds)
def test_case_is_all_that_changes_with_case(text: str, seed: int) -> None:
    read = review.clean(text).lower()
    for name in ("upper case", "lower case"):
        assert review.clean(BY_NAME[name](text, Random(seed))).lower() == read


@given(st.lists(st.sampled_from(["film", "Great", "naïve", "of", "<br/>", "&amp;"])), Seeds)
def test_typos_come_into_a_tenth_of_the_long_words(words: list[str], seed: int) -> None:
    changed = robustness.typos(" ".join(words), Random(seed)).split()
    edited = [(old, new) for old, new in zip(words, changed, strict=True) if old != new]
    long = sum(word in ("film", "Great", "naïve") for word in words)
    assert len(edited) == (max(1, round(long / 10)) if long else 0)
    for old, new in edited:
        assert old[0] == new[0]
        assert abs(len(old) - len(new)) <= 1


def test_each_kind_of_typo() -> None:
    found = {robustness._typo("Wood", Random(seed)) for seed in range(400)}
    assert found >= {"Wod", "Woo", "Woood", "Woodd", "Wodo", "Wpod", "Woof"}
    assert "Wood" not in found
    assert {word[0] for word in found} == {"W"}
    assert robustness._NEIGHBOURS["g"] == "fhtyvb"
    assert robustness._NEIGHBOURS["q"] == "wa"


def test_case_leaves_entities_alone() -> None:
    text = "Don't <br />miss caf&eacute; &amp; bar"
    assert BY_NAME["upper case"](text, Random(0)) == "DON'T <br />MISS CAF&eacute; &amp; BAR"
    assert BY_NAME["lower case"](text, Random(0)) == "don't <br />miss caf&eacute; &amp; bar"


def test_apostrophes_inside_words_alone() -> None:
    text = "I don't think it\u2019s 'good', boys' rock'n'roll"
    dropped = "I dont think its 'good', boys' rocknroll"
    assert robustness.drop_apostrophes(text, Random(0)) == dropped


@given(Seeds)
def test_names_are_swapped_within_their_list(seed: int) -> None:
    text = "Anna met John; John's sister Mary liked Anna. An ANNA, Johnson and john stay."
    words = robustness.swap_names(text, Random(seed)).replace("'s", "").split()
    anna, john, again, mary, last = words[0], words[2][:-1], words[3], words[5], words[7][:-1]
    assert (anna, john) == (last, again)
    assert {anna, mary} < set(WOMEN)
    assert anna not in ("Anna", mary)
    assert mary != "Mary"
    assert john in set(MEN) - {"John"}
    assert words[8:] == ["An", "ANNA,", "Johnson", "and", "john", "stay."]


def test_the_lists_hold_each_name_once() -> None:
    assert len({*MEN, *WOMEN}) == len(MEN) + len(WOMEN)
    ordinary = {"Will", "May", "Grace", "Mark", "Frank", "Rose", "Hope", "Faith", "Joy", "Jack"}
    assert not ordinary & {*MEN, *WOMEN}


def by_name(found: Sequence[Flips]) -> dict[str, tuple[int, int]]:
    return {one.name: (one.flips.count, one.flips.total) for one in found}


def test_flips_are_counted_among_changed_texts() -> None:
    """The scorer looks for "don't": lost in capitals and without apostrophes."""
    texts = ["I don't know", "i don't", "plain", "LOUD", "1 2 3"]
    found = by_name(flips(Picky(lambda text: "don't" in text), texts))
    assert list(found) == list(BY_NAME)
    assert found["upper case"] == (2, 3)
    assert found["lower case"] == (0, 2)
    assert found["dropped apostrophes"] == (2, 2)
    assert found["added neutral sentence"] == (0, 5)
    assert found["swapped names"] == (0, 0)
    assert found["typos"] == (0, 3)


def test_an_uncased_model_does_not_flip_with_case() -> None:
    found = by_name(flips(tiny.classifier(), ["A good film", "Awful", "the bad film was great"]))
    assert found["upper case"] == (0, 3)
    assert found["lower case"] == (0, 2)


def test_a_text_is_changed_alike_whatever_stands_beside_it() -> None:
    seen: list[set[str]] = []

    def look(text: str) -> bool:
        seen[-1].add(text)
        return True

    for other in ("Nobody knows anything", "?"):
        seen.append(set())
        flips(Picky(look), ["Anna didn't know a teacher", other], seed=3)
    shared = seen[0] & seen[1]
    assert len({text for text in shared if "teacher" in text.lower()}) == 1 + len(BY_NAME)
    assert flips(Picky(look), []) == flips(Picky(look), [])


def labelled(*texts: tuple[str, str | None]) -> list[Review]:
    return [Review(text, text, label, None, text) for text, label in texts]


def test_pairs() -> None:
    originals = labelled(("good", "positive"), ("bad", "negative"), ("not bad", "positive"))
    edits = labelled(("awful", "negative"), ("not good", "negative"), ("bad", "negative"))
    found = pairs(tiny.classifier(), "edited", originals, edits)
    assert found.name == "edited"
    assert (found.originals.count, found.edits.count, found.both.count) == (2, 2, 1)
    assert found.originals.total == found.edits.total == found.both.total == 3


def test_what_makes_no_pairs() -> None:
    good = labelled(("good", "positive"))
    with pytest.raises(InputError, match="1 originals, but 0 edits"):
        pairs(tiny.classifier(), "x", good, [])
    with pytest.raises(InputError, match="bad has the label 'meh', the model knows"):
        pairs(tiny.classifier(), "x", good, labelled(("bad", "meh")))
