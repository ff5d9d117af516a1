import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelsense.text.clean import Span, clean, clean_with_offsets, sentences, words

PIECES = [
    "Good film", "bad", " ", "\n", "\n\n", ".", "!", "?!", "...", "<br />", "<BR/>", "&amp;",
    "&quot;", "&eacute", "&#x1F600;", "&NotEqualTilde;", "&", ";", "\U0001f60d", "\ud800",
    "e\u0301", "\u2029", "\u3002", "Mr", "J", '"', ")", ",", "movie.The", "\u0130",
    "M&Ms.Th", "&ltb", "\U0001f44d\U0001f3fd", "\u200d", "\ufe0f", "\u2764\ufe0f",
    "\u2605", "7\ufe0f\u20e3", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1eb\U0001f1f7",
    "&#x1F1EB;", ":)", ":-(", ";", "=D", "\u2060",
]  # fmt: skip
clean("\U0001f60d")  # loads the names of emoji, for which hypothesis leaves an example no time
Texts = st.lists(st.sampled_from(PIECES) | st.text(st.characters(), max_size=5)).map("".join)


def cut(text: str) -> list[str]:
    cleaned = clean_with_offsets(text)
    spans = [cleaned.original_span(span) for span in sentences(cleaned.layout)]
    return [text[span.start : span.end] for span in spans]


def test_clean_replaces_html_breaks_and_entities() -> None:
    assert clean("Good.<br /><br />Not great &amp; not bad") == "Good.  Not great & not bad"


def test_clean_replaces_lone_surrogates() -> None:
    assert clean("a\ud800b") == "a\ufffdb"


def test_clean_replaces_character_references_of_thousands_of_digits() -> None:
    text = f"A &#{'9' * 5000}; joy &#{'0' * 5000}x"
    assert clean(text) == clean_with_offsets(text).text == "A \ufffd joy \ufffdx"


@given(st.text(alphabet=st.characters()))
def test_cleaned_text_can_be_encoded(text: str) -> None:
    clean(text).encode("utf-8")


@given(Texts)
def test_clean_with_offsets_agrees_with_clean_and_maps_to_the_original(text: str) -> None:
    cleaned = clean_with_offsets(text)
    assert cleaned.text == clean(text)
    assert len(cleaned.text) == len(cleaned.layout) == len(cleaned.starts) == len(cleaned.ends)
    for n, letter in enumerate(cleaned.text):
        span = cleaned.original_span(Span(n, n + 1))
        given_part = text[span.start : span.end]
        assert letter in f"{given_part}{clean(given_part)}\ufffd " or given_part.startswith("&")
    for span, after in pairwise(sentences(cleaned.layout)):
        assert cleaned.original_span(span).end <= cleaned.original_span(after).start
    assert cleaned.starts == sorted(cleaned.starts)
    assert cleaned.ends == sorted(cleaned.ends)


@given(Texts)
def test_sentences_cover_all_but_white_space(text: str) -> None:
    layout = clean_with_offsets(text).layout
    spans = sentences(layout)
    at = 0
    for span in spans:
        assert not layout[at : span.start].strip()
        assert layout[span.start : span.end] == layout[span.start : span.end].strip() != ""
        at = span.end
    assert not layout[at:].strip()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("so bad.i left. it was long", ["so bad.", "i left.", "it was long"]),
        ("See imdb.com or e.g.that. Yes", ["See imdb.com or e.g.that.", "Yes"]),
        ("At 8 p.m. on it, No. 5, etc. and so.", ["At 8 p.m. on it, No. 5, etc. and so."]),
        ("He got an A. She got an F. No.", ["He got an A.", "She got an F.", "No."]),
        ("1. Good acting. 2. Bad plot.", ["1. Good acting.", "2. Bad plot."]),
        ("So:\n- Good\n- Bad\nand so", ["So:", "- Good", "- Bad\nand so"]),
        ("M&Ms.They rock. R&B!", ["M&Ms.", "They rock.", "R&B!"]),
        ("A movie.The end (of it).Really.", ["A movie.", "The end (of it).", "Really."]),
        ("Mr. Smith and J. K. Rowling vs. Dr. No.", ["Mr. Smith and J. K. Rowling vs. Dr. No."]),
        ("Than I. And no. Nor he.", ["Than I.", "And no.", "Nor he."]),
        ("In the U.S.A. for 3.5 days, e.g. now.", ["In the U.S.A. for 3.5 days, e.g. now."]),
        ('"Wow!" he said. "Great." She left.', ['"Wow!" he said.', '"Great."', "She left."]),
        ("It was... long... And dull.", ["It was... long...", "And dull."]),
        ("Title<br />Then &quot;so.&quot; Yes", ["Title", "Then &quot;so.&quot;", "Yes"]),
        ("First\n\nSecond\nstill", ["First", "Second\nstill"]),
        ("Bad. *** ... Good.", ["Bad. *** ...", "Good."]),
        ("\u5f88\u597d\u3002\u4e0d\uff01", ["\u5f88\u597d\u3002", "\u4e0d\uff01"]),
        ("\U0001f60d", ["\U0001f60d"]),
        ("  ", []),
    ],
)  # fmt: skip
def test_sentences_end_where_expected(text: str, expected: list[str]) -> None:
    assert cut(text) == expected


def test_long_sentences_are_divided() -> None:
    text = "word " * 150
    assert [len(part.split()) for part in cut(text)] == [39, 37, 38, 36]
    clauses = "one two three four five six seven eight nine ten, " * 8
    assert all(part.endswith(",") for part in cut(clauses))
    assert len(cut(clauses)) == 2


def test_words_leave_out_function_words() -> None:
    text = "It was the well-made film's 10/10 \u2013 wow! \U0001f60d :) (not bad), don't..."
    cleaned = clean_with_offsets(text)
    spans = [
        cleaned.original_span(word) for word in words(cleaned.layout, Span(0, len(cleaned.layout)))
    ]
    assert [text[span.start : span.end] for span in spans] == [
        "well-made", "film's", "10/10", "wow", "!", "\U0001f60d", ":)", "not", "bad", "don't"
    ]  # fmt: skip
    marked = "e\u0301tude R&B good!bad \u0905\u091a\u094d\u091b\u0940 \u0939\u0948\u0964"
    marked_words = [marked[word.start : word.end] for word in words(marked, Span(0, len(marked)))]
    assert marked_words == [
        "e\u0301tude", "R&B", "good", "bad", "\u0905\u091a\u094d\u091b\u0940", "\u0939\u0948"
    ]  # fmt: skip
    assert words("the bad of it", Span(0, 3)) == [Span(0, 3)]
    assert words("the bad of it", Span(0, 7)) == [Span(4, 7)]


@given(Texts)
def test_words_are_within_their_sentence(text: str) -> None:
    cleaned = clean_with_offsets(text)
    for sentence in sentences(cleaned.layout):
        spans = words(cleaned.layout, sentence)
        for word in spans:
            assert sentence.start <= word.start < word.end <= sentence.end
        for word, after in pairwise(spans):
            assert cleaned.original_span(word).end <= cleaned.original_span(after).start
        if re.search(r"\w", cleaned.text[sentence.start : sentence.end]):
            assert spans
