from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelsense.datasets.identities import (
    Form,
    Term,
    all_terms,
    categories,
    fill,
    review_sentences,
    template_sentences,
    terms_of,
)

WIDOWER = Term("widower", "gender", "noun", held_out=True, pronoun="he")


def test_a_quarter_of_the_terms_of_each_category_is_held_out() -> None:
    terms = {(term.text, term.category): term.held_out for term in all_terms()}
    assert len(terms) >= 400
    assert max(Counter(text for text, _ in terms).values()) == 1
    assert categories() == [
        *("religion", "nationality", "ethnicity", "orientation", "gender", "age", "disability")
    ]
    for category in categories():
        held_out = [held for (_, own), held in terms.items() if own == category]
        assert 0.22 < sum(held_out) / len(held_out) < 0.28
        assert len(held_out) >= 20


def test_halves_of_the_templates_share_no_sentence() -> None:
    training, measuring = template_sentences("training"), template_sentences("measuring")
    assert {row.template for row in training}.isdisjoint(row.template for row in measuring)
    for form in ("adjective", "noun"):
        assert len({row.template for row in measuring if row.form == form}) >= 18
    for sentence in training[::50] + measuring:
        for text in sentence.texts(terms_of(sentence.category, sentence.form)):
            assert not text[0].islower()
            assert not re.search(
                r"[{}]|\b[Aa] (?!one-)[AEIOaeio8]|\b[Aa]n [bcdfgjkmnpqrstvwxyz]", text
            )


def test_fill_adapts_article_and_pronouns() -> None:
    assert fill("{A} {x} lost {his} job, and {he} saw {him}.", WIDOWER) == (
        "A widower lost his job, and he saw him."
    )
    (elder,) = [term for term in terms_of("age", "noun") if term.text == "older adult"]
    assert fill("{X} or {a} {x}: {he}, {his}, {him}", elder) == (
        "Older adult or an older adult: they, their, them"
    )


@pytest.mark.parametrize(
    ("sentence", "category", "form", "template"),
    [
        ("A Christian family sings.", "religion", "adjective", "{A} {x} family sings."),
        ("We saw the Polish actor.", "nationality", "adjective", "We saw the {x} actor."),
        ("Black people will {like} it.", "ethnicity", "adjective", "{X} people will {{like}} it."),
        ("It shows an old man in Paris.", "age", "adjective", "It shows {a} {x} man in Paris."),
        ("It shows a lesbian couple.", "orientation", "adjective", "It shows {a} {x} couple."),
        ("The blind girl sings in it.", "disability", "adjective", "The {x} girl sings in it."),
        ("A female lawyer wins the case.", "gender", "adjective", "{A} {x} lawyer wins the case."),
        ("It shows a widow in Paris.", "gender", "noun", "It shows {a} {x} in Paris."),
    ],
)  # fmt: skip
def test_review_sentences_get_a_placeholder_for_the_term(
    sentence: str, category: str, form: Form, template: str
) -> None:
    [result] = [row for row in review_sentences([sentence]) if row.form == form]
    assert (result.category, result.template) == (category, template)


def test_review_sentences_are_cleaned_and_not_repeated() -> None:
    text = "Well.<br />It is about an Asian woman &amp; her dog! I slept."
    [result] = review_sentences([text, text])
    assert [result.template] == ["It is about {a} {x} woman & her dog!"]


@pytest.mark.parametrize(
    "sentence",
    [
        "I loved Christian Slater in this one.",
        "The Jewish girl meets the Muslim boy there.",
        "They polish people off one by one.",
        "Those French windows were all broken.",
        "The South Korean director is well known.",
        "This is a fine black comedy.",
        "The Man with the Golden Arm again.",
        "Oh man, what was that about?",
        "It shows a man and his dog.",
        "A very old teacher walks on the stage.",
        "A man!",
        "It begins with an old teacher " + "and so on " * 12 + ".",
    ],
)
def test_review_sentences_exclude_those_that_would_change_their_meaning(sentence: str) -> None:
    assert review_sentences([sentence]) == []


@settings(deadline=None)  # the first example compiles the patterns
@given(
    st.lists(
        st.sampled_from(
            ["a", "An", "the", "MAN", "old", "{x}", "}", "Polish", "people", ".", "\u017fikh"]
        )
        | st.text(),
        max_size=30,
    ).map(" ".join)
)
def test_review_sentences_accept_any_text(text: str) -> None:
    for sentence in review_sentences([text]):
        terms = terms_of(sentence.category, sentence.form)
        assert len(set(sentence.texts(terms))) == len(terms)
