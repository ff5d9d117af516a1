from __future__ import annotations

import re
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reelsense.datasets.behaviours import read_data
from reelsense.evaluation import perturbations
from reelsense.evaluation.perturbations import PERTURBATIONS, TARGET
from reelsense.text import clean

NOISE = read_data("noise.toml")["measuring"]
MEN, WOMEN, NEUTRAL, PLACES = (NOISE[name] for name in ("men", "women", "sentences", "places"))
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


@given(Texts, Seeds)
@example("", 0)
def test_perturbations_accept_any_text_and_depend_on_the_seed(text: str, seed: int) -> None:
    for change in BY_NAME.values():
        assert change(text, Random(seed)) == change(text, Random(seed))


@given(Texts, Seeds)
def test_perturbations_keep_words_and_markup(text: str, seed: int) -> None:
    markup = perturbations._MARKUP.findall(text)
    for name, change in BY_NAME.items():
        changed = change(text, Random(seed))
        if name == "added neutral sentence":
            both = [(f"{sentence} {text}", f"{text} {sentence}") for sentence in NEUTRAL]
            assert any(changed in places for places in both)
        elif name not in ("link and user name", "repeated twice", "repeated 7 times"):
            assert len(changed.split()) == len(text.split())
            assert perturbations._MARKUP.findall(changed)[: len(markup)] == markup


@given(Texts.filter(str.isascii), Seeds)
def test_case_perturbations_change_only_case(text: str, seed: int) -> None:
    cleaned = clean.clean(text).lower()
    for name in ("upper case", "lower case"):
        assert clean.clean(BY_NAME[name](text, Random(seed))).lower() == cleaned


@given(st.lists(st.sampled_from(["film", "Great", "naïve", "of", "<br/>", "&amp;"])), Seeds)
def test_typos_alter_a_tenth_of_the_long_words(words: list[str], seed: int) -> None:
    changed = perturbations.typos(" ".join(words), Random(seed)).split()
    edited = [(old, new) for old, new in zip(words, changed, strict=True) if old != new]
    long = sum(word in ("film", "Great", "naïve") for word in words)
    assert len(edited) == (max(1, round(long / 10)) if long else 0)
    for old, new in edited:
        assert old[0] == new[0]
        assert abs(len(old) - len(new)) <= 1


def test_typo_kinds() -> None:
    results = {perturbations._typo("Wood", Random(seed)) for seed in range(400)}
    assert results >= {"Wod", "Woo", "Woood", "Woodd", "Wodo", "Wpod", "Woof"}
    assert "Wood" not in results
    assert {word[0] for word in results} == {"W"}
    assert perturbations._NEIGHBOURS["g"] == "fhtyvb"
    assert perturbations._NEIGHBOURS["q"] == "wa"


def test_case_perturbations_keep_entities() -> None:
    text = "Don't <br />miss caf&eacute; &amp; bar"
    assert BY_NAME["upper case"](text, Random(0)) == "DON'T <br />MISS CAF&eacute; &amp; BAR"
    assert BY_NAME["lower case"](text, Random(0)) == "don't <br />miss caf&eacute; &amp; bar"


def test_drop_apostrophes_only_inside_words() -> None:
    text = "I don't think it\u2019s 'good', boys' rock'n'roll"
    dropped = "I dont think its 'good', boys' rocknroll"
    assert perturbations.drop_apostrophes(text, Random(0)) == dropped


@given(Seeds)
def test_swap_names_within_their_list(seed: int) -> None:
    text = "Anna met John; John's sister Mary liked Anna. An ANNA, Johnson and john stay."
    words = perturbations.swap_names(text, Random(seed)).replace("'s", "").split()
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


@given(Texts, Seeds)
def test_add_link_and_user_keeps_all_words(text: str, seed: int) -> None:
    changed = perturbations.add_link_and_user(text, Random(seed))
    added = list(changed.split())
    for word in text.split():
        added.remove(word)
    assert 2 <= len(added) <= 6
    assert any(re.search(r"\.(?:com|org|be)/", word) for word in added)


def test_insert_between_sentences() -> None:
    text = "One two. Three four! Five."
    results = {perturbations.insert(text, "LINK", Random(seed)) for seed in range(60)}
    assert results == {
        "LINK One two. Three four! Five.",
        "One two. LINK Three four! Five.",
        "One two. Three four! LINK Five.",
        "One two. Three four! Five. LINK",
    }


def test_change_numbers_leaves_ratings_and_small_numbers() -> None:
    kept = (
        "10/10, 75/100, 85 out of 100, 40 stars, 90%, a score of 65, rated 70, I give it a 88, "
        "Rating: 95, 3 actors, 1930s, 3.14, 12:30, 1,000, No9, $20, 24-hour, &#39;"
    )
    for seed in range(20):
        assert perturbations.change_numbers(kept, Random(seed)) == kept
    changed = perturbations.change_numbers("In 1954 and 2001, 45 men, 300 horses.", Random(1))
    years_men_horses = [int(number) for number in re.findall(r"\d+", changed)]
    assert [len(str(number)) for number in years_men_horses] == [4, 4, 2, 3]
    assert all(1920 <= year <= 2023 for year in years_men_horses[:2])
    assert re.sub(r"\d+", "N", changed) == "In N and N, N men, N horses."


@given(Seeds)
def test_change_places_is_consistent(seed: int) -> None:
    text = "New York, London; New York! Londoners in Parisian hats."
    changed = perturbations.change_numbers_and_places(text, Random(seed))
    first, second, third = re.fullmatch(
        r"(.+), (.+); (.+)! Londoners in Parisian hats\.", changed
    ).groups()  # type: ignore[union-attr]  # it matches
    assert first == third != second
    assert {first, second} <= set(PLACES)
    assert first != "New York"
    assert second != "London"


@pytest.mark.parametrize(("name", "times"), [("repeated twice", 2), ("repeated 7 times", 7)])
def test_repeat(name: str, times: int) -> None:
    assert BY_NAME[name]("Bad film.", Random(0)).split() == ["Bad", "film."] * times


def test_perturbations_with_a_target() -> None:
    assert {
        perturbation.name for perturbation in PERTURBATIONS if perturbation.target == TARGET
    } == {
        *("typos", "link and user name", "numbers and places"),
        *("repeated twice", "repeated 7 times"),
    }
