from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given

from reelsense import Classifier
from reelsense.errors import DeadlineError, InputError, TextError
from reelsense.inference.aspects import find_aspects, has_aspects
from reelsense.inference.call_context import CallContext
from reelsense.prediction import Prediction
from reelsense.text.clean import clean_with_offsets
from tests import tiny
from tests.text.test_clean import Texts

CLASSIFIER = tiny.classifier()
TEXT = "The music is great &amp; good \U0001f60d.<br />But the plot is bad, and I went home."


def test_find_aspects_quotes_clauses_of_the_original_text() -> None:
    explanation = CLASSIFIER.explain(TEXT, aspects=True)
    assert explanation.aspects is not None
    quotes = [(m.aspect, TEXT[m.start : m.end]) for m in explanation.aspects]
    assert quotes == [("music", "The music is great"), ("story", "But the plot is bad")]


def test_find_aspects_gives_each_clause_its_own_verdict() -> None:
    classifier = tiny.cautious_classifier()
    text = "The music is great, the plot is awful, awful, but the cast is so good and great."
    mentions = classifier.explain(text, risk=0.02, aspects=True).aspects
    assert mentions is not None
    for mention in mentions:
        [alone] = classifier.predict([text[mention.start : mention.end]], risk=0.02)
        assert (mention.verdict, mention.positive) == (alone.verdict, alone.positive)
    assert [mention.verdict for mention in mentions] == ["unsure", "unsure", "unsure"]
    decided = classifier.explain(text, risk=0.1, aspects=True).aspects
    assert decided is not None
    assert [mention.verdict for mention in decided] == ["positive", "negative", "positive"]


def test_explain_has_no_aspects_by_default() -> None:
    assert CLASSIFIER.explain(TEXT).aspects is None
    assert CLASSIFIER.explain("A film.", aspects=True).aspects == ()


def test_aspects_do_not_change_the_rest_of_the_explanation() -> None:
    with_aspects = CLASSIFIER.explain(TEXT, aspects=True)
    without_aspects = CLASSIFIER.explain(TEXT)
    assert with_aspects.sentences == without_aspects.sentences
    assert with_aspects.forward_passes == without_aspects.forward_passes
    assert with_aspects.prediction == without_aspects.prediction


def test_find_aspects_scores_equal_clauses_once() -> None:
    scored: list[list[str]] = []

    def predict(texts: Sequence[str]) -> list[Prediction | TextError]:
        scored.append(list(texts))
        return CLASSIFIER.predict_each(texts)

    cleaned = clean_with_offsets("The plot is bad. The plot is bad. A funny plot.")
    mentions = find_aspects(cleaned, predict, CallContext())
    assert scored == [["The plot is bad", "A funny plot"]]
    assert [mention.aspect for mention in mentions] == ["story", "story", "story", "humour"]


@given(Texts)
def test_explain_with_aspects_accepts_the_same_texts_as_without(text: str) -> None:
    text += " Great music, and a bad plot"
    explanation = CLASSIFIER.explain(text, aspects=True, budget=16)
    assert explanation.aspects is not None
    for mention in explanation.aspects:
        assert 0 <= mention.start < mention.end <= len(text)
        assert 0 <= mention.positive <= 1
        [alone] = CLASSIFIER.predict([text[mention.start : mention.end]])
        assert alone.positive == pytest.approx(mention.positive)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (("negative", "positive"), True),
        (("positive", "negative"), True),
        (("negative", "neutral", "positive"), False),
        (("billing", "bug"), False),
    ],
)
def test_has_aspects_needs_the_labels_positive_and_negative(
    labels: tuple[str, ...], expected: bool
) -> None:
    assert has_aspects(labels) == expected


def test_aspects_of_other_labels_are_rejected() -> None:
    classifier = Classifier(tiny.bundle(labels=("bad", "good")), network=tiny.count_moods)
    with pytest.raises(InputError) as caught:
        classifier.explain("The music is great.", aspects=True)
    assert caught.value.code == "no-aspects"
    assert classifier.explain("The music is great.").aspects is None


def test_explain_with_aspects_rejects_invalid_text() -> None:
    with pytest.raises(TextError):
        CLASSIFIER.explain(" ", aspects=True)


def test_find_aspects_respects_deadline() -> None:
    with pytest.raises(DeadlineError):
        find_aspects(clean_with_offsets(TEXT), CLASSIFIER.predict_each, CallContext(0))


@pytest.mark.parametrize(
    ("clause", "verdict"),
    [
        ("The score is beautiful and haunting", "positive"),
        ("the acting is not bad at all", "positive"),
        ("The plot makes no sense", "negative"),
        ("a complete lack of chemistry", "negative"),
        ("The jokes fall flat", "negative"),
        ("superb performances by the whole cast", "positive"),
    ],
)
def test_default_model_decides_or_is_unsure_about_clauses(clause: str, verdict: str) -> None:
    mentions = Classifier.load().explain(f"{clause}.", aspects=True, budget=16).aspects
    assert mentions
    assert {mention.verdict for mention in mentions} <= {verdict, "unsure"}
    assert all((mention.positive > 0.5) == (verdict == "positive") for mention in mentions)
