from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from reelsense import Classifier
from reelsense.bundle import Calibration
from reelsense.errors import DeadlineError, InputError, TextError
from reelsense.inference.call_context import CallContext
from reelsense.inference.tokenizer import ReviewTokenizer
from reelsense.prediction import Explanation, Part, without
from tests import tiny
from tests.text.test_clean import Texts
from tests.tiny_tokenizers import KINDS

CLASSIFIER = tiny.classifier()
Sentences = st.lists(
    st.lists(st.sampled_from(tiny.WORDS[:9]), min_size=1, max_size=8).map(
        lambda words: " ".join(words) + "."
    ),
    min_size=1,
    max_size=12,
)


class Counting:
    """Counts the rows that the network reads."""

    def __init__(self) -> None:
        self.rows = 0

    def __call__(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        self.rows += len(ids)
        return tiny.count_moods(ids, mask)


def wide(window: int = 64, temperature: float = 1.0) -> Classifier:
    """A classifier that reads a review at once."""
    made = tiny.bundle(window=window)
    calibration = Calibration(temperature=temperature)
    manifest = replace(made.manifest, calibration=calibration)
    return Classifier(replace(made, manifest=manifest), network=tiny.count_moods)


def told(text: str, parts: tuple[Part, ...]) -> list[tuple[str, float]]:
    return [(text[part.start : part.end], round(part.weight, 6)) for part in parts]


def log_odds(classifier: Classifier, text: str) -> float:
    negative, positive = classifier.predict_proba([text])[0]
    return float(np.log(positive / negative))


def test_weights_are_what_taking_out_takes() -> None:
    text = "A good,<br />great film! The film was awful &amp; bad.<br /><br />Good \U0001f60d."
    found = wide(temperature=2.0).explain(text)
    assert found.prediction == wide(temperature=2.0).predict([text])[0]
    assert found.target_label == "positive"
    assert found.log_odds == pytest.approx(1.0)
    assert told(text, found.sentences) == [
        ("A good,", 1.0),
        ("great film!", 1.0),
        ("The film was awful &amp; bad.", -2.0),
        ("Good \U0001f60d.", 1.0),
    ]
    assert told(text, found.words) == [("awful", -1.0), ("bad", -1.0)]
    assert found.counterfactual is None or found.counterfactual.unit == "sentences"


def test_the_smallest_set_that_turns_the_label() -> None:
    text = "Good. Great, great, great film. The film. Good. Bad."
    found = wide().explain(text)
    assert found.counterfactual is not None
    assert [text[part.start : part.end] for part in found.counterfactual.parts] == [
        "Good.", "Great, great, great film.", "Good."
    ]  # fmt: skip
    left = without(text, found.counterfactual.parts)
    assert found.counterfactual.prediction == wide().predict([left])[0]
    assert found.counterfactual.prediction.label != found.prediction.label


def test_one_sentence_is_enough_where_it_is() -> None:
    text = "Bad. Great great great film. Awful."
    counterfactual = wide().explain(text).counterfactual
    assert counterfactual is not None
    assert told(text, counterfactual.parts) == [("Great great great film.", 6.0)]


def test_words_where_no_sentences_do() -> None:
    text = "not good but great and great and bad, awful"
    found = wide().explain(text)
    assert [name for name, _ in told(text, found.words)][:2] == ["not", "good"]
    assert found.counterfactual is not None
    assert found.counterfactual.unit == "words"
    assert len(found.counterfactual.parts) == 2
    assert wide().explain("good").counterfactual is None


@pytest.mark.parametrize(
    "text", ["good", "!", "\U0001f60d", "good " * 500, "good. " * 500, "[MASK]"]
)
def test_odd_reviews(text: str) -> None:
    found = CLASSIFIER.explain(text)
    assert found.sentences
    assert all(part.end <= len(text) for part in found.sentences)
    assert sum(part.weight for part in found.sentences) >= 0


def test_the_weight_of_all_there_is_is_against_an_empty_text() -> None:
    text = "  good film "
    assert told(text, CLASSIFIER.explain(text).sentences) == [("good film", 2.0)]


def test_many_sentences_are_passages_of_which_the_heaviest_are_opened() -> None:
    text = " ".join(
        ["The film." for _ in range(2500)] + ["Great."] + ["A film." for _ in range(2499)]
    )
    network = Counting()
    found = Classifier(tiny.bundle(), network=network).explain(text)
    parts = told(text, found.sentences)
    assert len(parts) < 200
    assert max(parts, key=lambda part: part[1])[0] == "Great."
    assert found.sentences[0].start == 0
    assert found.sentences[-1].end == len(text)
    assert network.rows <= 2 * 800 + 200


@given(Sentences, st.integers(16, 300))
def test_what_holds_of_any_review(texts: list[str], budget: int) -> None:
    text = " ".join(texts)
    network = Counting()
    classifier = Classifier(tiny.bundle(), network=network)
    found = classifier.explain(text, budget=budget)
    whole = -(-found.prediction.tokens.total // 14)
    assert whole <= found.forward_passes <= whole + budget
    assert network.rows <= found.forward_passes + whole  # and the flip, verified
    assert found == CLASSIFIER.explain(text, budget=budget)
    assert found.prediction == CLASSIFIER.predict([text])[0]
    ends = [0, *(part.end for part in found.sentences)]
    assert all(end <= part.start for end, part in zip(ends, found.sentences, strict=False))
    if found.counterfactual:
        left = CLASSIFIER.predict([without(text, found.counterfactual.parts)])[0]
        assert left == found.counterfactual.prediction
        assert left.label != found.prediction.label


@given(Sentences)
def test_in_one_window_every_weight_is_a_difference_of_predictions(texts: list[str]) -> None:
    text = " ".join(texts)
    classifier = wide(window=128)
    found = classifier.explain(text)
    if len(found.sentences) > 1:
        for part in (*found.sentences, *found.words):
            left = without(text, [part])
            if classifier.predict_each([left])[0].__class__ is not TextError:
                expected = found.log_odds - log_odds(classifier, left)
                assert part.weight == pytest.approx(expected, abs=1e-6)


@given(Texts)
def test_any_text_is_explained_or_refused_as_by_predict(text: str) -> None:
    [answer] = CLASSIFIER.predict_each([text])
    if isinstance(answer, TextError):
        with pytest.raises(TextError, match=answer.reason):
            CLASSIFIER.explain(text)
    else:
        found = CLASSIFIER.explain(text)
        assert found.prediction == answer
        assert all(0 <= part.start < part.end <= len(text) for part in found.sentences)


def test_windows_that_a_part_does_not_touch_are_not_read_again() -> None:
    network = Counting()
    text = "good film. " * 14  # three windows of 14 tokens, a sentence in each of 3 tokens
    Classifier(tiny.bundle(), network=network).explain(text, budget=60)
    before = network.rows
    assert before <= 3 + 60 + 3


@pytest.mark.parametrize(
    "text",
    [
        "Great. " + "good\uff0cbad\uff0c" * 2000,
        "It was a film. " + "good/bad/" * 2000,
        "good bad " * 3000,
        "The film was bad. " * 600,
    ],
)
@pytest.mark.parametrize("budget", [16, 17, 200])
def test_the_budget_holds_for_sentences_of_many_windows(text: str, budget: int) -> None:
    found = CLASSIFIER.explain(text, budget=budget)
    assert found.forward_passes <= budget + -(-found.prediction.tokens.total // 14)


@pytest.mark.parametrize("budget", [0, 15, -1, 2.5, "many", None, True])
def test_a_budget_that_is_none(budget: object) -> None:
    with pytest.raises(InputError, match="budget is a number, 16 at least"):
        CLASSIFIER.explain("good", budget=budget)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", " \n", "\x00", None, 7])
def test_what_is_no_text(text: object) -> None:
    with pytest.raises(TextError):
        CLASSIFIER.explain(text)  # type: ignore[arg-type]


def test_the_clock_is_heeded() -> None:
    with pytest.raises(DeadlineError):
        CLASSIFIER.explain("good film", context=CallContext(0))


def test_three_labels_are_weighed_towards_the_answer() -> None:
    def three(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        moods = tiny.count_moods(ids, mask)
        return np.concatenate([moods[:, :1], np.zeros((len(ids), 1), np.float32), moods[:, 1:]], 1)

    classifier = Classifier(tiny.bundle(labels=("bad", "fair", "good")), network=three)
    text = "Awful. The film. Good."
    found = classifier.explain(text + " Bad.")
    assert (found.prediction.label, found.target_label) == ("bad", "bad")
    weights = [part.weight for part in found.sentences]
    assert weights[0] > 0 > weights[2]
    negative, fair, positive = found.prediction.probabilities.values()
    assert found.log_odds == pytest.approx(np.log(negative / (fair + positive)))


def test_the_explanation_of_the_model_that_comes_along() -> None:
    classifier = Classifier.load()
    text = "The music is lovely. But the plot is a dull, lazy mess. I went home."
    found: Explanation = classifier.explain(text)
    heaviest = min(found.sentences, key=lambda part: part.weight)
    assert text[heaviest.start : heaviest.end] == "But the plot is a dull, lazy mess."
    for part in (*found.sentences, *found.words):
        expected = found.log_odds - log_odds(classifier, without(text, [part]))
        assert part.weight == pytest.approx(expected, abs=0.02)
    assert found.counterfactual is not None
    assert found.counterfactual.prediction.label == "positive"
    assert classifier.explain(text) == found


def test_explanations_use_the_calibration_of_the_whole_text() -> None:
    """Five words are of the long group, whose logits are taken as they are; four would not be."""
    classifier = tiny.grouped_classifier()
    text = "Good, good. Bad film the."
    found = classifier.explain(text, risk=0.1)
    assert found.prediction == classifier.predict([text], risk=0.1)[0]
    assert found.log_odds == pytest.approx(log_odds(classifier, text)) == pytest.approx(2.0)
    assert told(text, found.sentences) == [("Good, good.", 4.0), ("Bad film the.", -2.0)]
    assert found.counterfactual is not None
    assert found.counterfactual.prediction == classifier.predict(["Bad film the."], risk=0.1)[0]
    assert found.counterfactual.prediction.score == pytest.approx(0.731, abs=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_explanation_takes_out_the_tokens_of_each_word(kind: str) -> None:
    serialized = KINDS[kind]()
    tokenizer = ReviewTokenizer(serialized)
    mood = np.zeros(tokenizer.size, np.float32)
    for word, weight in (("good", 1), ("bad", -1)):
        for text in (word, f"a {word}"):
            mood[tokenizer.locate(text).ids[-1]] = weight

    def count(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        moods = (mood[ids] * mask).sum(axis=1)
        return np.stack([-moods, moods], axis=1)

    made = replace(tiny.bundle(window=64), tokenizer=serialized)
    text = "the film was good.  a bad film &amp; a bad, bad film.<br />good the film"
    found = Classifier(made, network=count).explain(text)
    assert told(text, found.sentences) == [
        ("the film was good.", 2.0),
        ("a bad film &amp; a bad, bad film.", -6.0),
        ("good the film", 2.0),
    ]
    assert told(text, found.words) == [("bad", -2.0)] * 3
