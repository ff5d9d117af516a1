import random
from collections import Counter

import pytest

from aspects import sample
from aspects.sample import ASPECT_WORDS, Drawn, Sentence, draw, eligible_sentences
from reelsense.datasets.reviews import Review

REST = "We had popcorn that day. Nobody else was there."


def review(number: int, text: str) -> Review:
    return Review(f"train/pos/{number}_9.txt", text, "positive", 9, "tt1")


def frame(words: str, count: int) -> list[Sentence]:
    return [
        sentence
        for number in range(count)
        for sentence in eligible_sentences(
            review(number, f"About number {number}: {words}. {REST}")
        )
    ]


def test_eligible_sentences_are_spans_of_the_original_text() -> None:
    text = "Too short.<br /><br />I liked the caf&eacute; songs. The end :) came late, alas."
    before, after = eligible_sentences(review(0, text))
    assert before.text == text[before.span.start : before.span.end]
    assert before.text == "I liked the caf&eacute; songs."
    assert before.context == ("Too short.", "The end :) came late, alas.")
    assert after.context == (before.text, "")


@pytest.mark.parametrize(("count", "eligible"), [(3, 0), (4, 1), (60, 1)])
def test_eligible_sentences_have_4_to_60_words(count: int, eligible: int) -> None:
    assert len(list(eligible_sentences(review(0, " ".join(["word"] * count))))) == eligible


def test_draw_fills_every_stratum_from_distinct_reviews() -> None:
    words = "acting story direction music visuals slow funny effects dialogue ending"
    drawn = draw(frame(words, 90), 20, 3, random.Random(0))
    assert Counter(item.stratum for item in drawn) == {
        "random": 20,
        **dict.fromkeys(ASPECT_WORDS, 3),
    }
    assert len({item.sentence.review.name for item in drawn}) == len(drawn)
    for item in drawn:
        assert item.stratum == "random" or item.stratum in item.sentence.matches


def test_draw_gives_sentences_of_long_and_short_reviews_the_same_probability() -> None:
    short, long = (
        review(0, "One sentence of five words."),
        review(1, "A sentence of five words. " * 4),
    )
    sentences = [*eligible_sentences(short), *eligible_sentences(long)]
    drawn = [draw(sentences, 1, 0, random.Random(seed))[0] for seed in range(2000)]
    assert {item.probability for item in drawn} == {1 / 5}
    assert sum(item.sentence.review is short for item in drawn) == pytest.approx(400, abs=80)


def test_draw_rejects_a_review_drawn_twice() -> None:
    sentences = list(eligible_sentences(review(0, "A sentence of five words. " * 9)))
    with pytest.raises(ValueError, match="draw fewer"):
        draw(sentences, 3, 0, random.Random(0))


def test_task_hides_stratum_and_review_and_position_hides_text() -> None:
    (sentence,) = eligible_sentences(review(7, "Her act of violence was the end."))
    task = sample.task("s001", sentence)
    assert task == {
        "id": "s001",
        "text": "Her act of violence was the end.",
        "context_before": "",
        "context_after": "",
    }
    assert sample.position("s001", Drawn(sentence, "acting", 0.25)) == {
        "id": "s001",
        "review": "train/pos/7_9.txt",
        "start": 0,
        "end": 32,
        "stratum": "acting",
        "probability": 0.25,
        "matches": ["acting", "ending"],
    }
