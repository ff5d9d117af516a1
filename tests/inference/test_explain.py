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
    """Counts the windows that the network runs."""

    def __init__(self) -> None:
        self.rows = 0

    def __call__(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        self.rows += len(ids)
        return tiny.count_moods(ids, mask)


def wide_classifier(window: int = 64, temperature: float = 1.0) -> Classifier:
    """Return a classifier with a window for whole reviews."""
    bundle = tiny.bundle(window=window)
    calibration = Calibration(temperature=temperature)
    manifest = replace(bundle.manifest, calibration=calibration)
    return Classifier(replace(bundle, manifest=manifest), network=tiny.count_moods)


def weights_of(text: str, parts: tuple[Part, ...]) -> list[tuple[str, float]]:
    return [(text[part.start : part.end], round(part.weight, 6)) for part in parts]


def log_odds(classifier: Classifier, text: str) -> float:
    negative, positive = classifier.predict_proba([text])[0]
    return float(np.log(positive / negative))


def test_explain_measures_weights_by_occlusion() -> None:
    text = "A good,<br />great film! The film was awful &amp; bad.<br /><br />Good \U0001f60d."
    explanation = wide_classifier(temperature=2.0).explain(text)
    assert explanation.prediction == wide_classifier(temperature=2.0).predict([text])[0]
    assert explanation.target_label == "positive"
    assert explanation.log_odds == pytest.approx(1.0)
    assert weights_of(text, explanation.sentences) == [
        ("A good,", 1.0),
        ("great film!", 1.0),
        ("The film was awful &amp; bad.", -2.0),
        ("Good \U0001f60d.", 1.0),
    ]
    assert weights_of(text, explanation.words) == [("awful", -1.0), ("bad", -1.0)]
    assert explanation.counterfactual is None or explanation.counterfactual.unit == "sentences"


def test_counterfactual_is_the_smallest_set_that_changes_the_label() -> None:
    text = "Good. Great, great, great film. The film. Good. Bad."
    explanation = wide_classifier().explain(text)
    assert explanation.counterfactual is not None
    assert [text[part.start : part.end] for part in explanation.counterfactual.parts] == [
        "Good.", "Great, great, great film.", "Good."
    ]  # fmt: skip
    remaining = without(text, explanation.counterfactual.parts)
    assert explanation.counterfactual.prediction == wide_classifier().predict([remaining])[0]
    assert explanation.counterfactual.prediction.label != explanation.prediction.label


def test_counterfactual_is_one_sentence_if_that_suffices() -> None:
    text = "Bad. Great great great film. Awful."
    counterfactual = wide_classifier().explain(text).counterfactual
    assert counterfactual is not None
    assert weights_of(text, counterfactual.parts) == [("Great great great film.", 6.0)]


def test_counterfactual_falls_back_to_words() -> None:
    text = "not good but great and great and bad, awful"
    explanation = wide_classifier().explain(text)
    assert [name for name, _ in weights_of(text, explanation.words)][:2] == ["not", "good"]
    assert explanation.counterfactual is not None
    assert explanation.counterfactual.unit == "words"
    assert len(explanation.counterfactual.parts) == 2
    assert wide_classifier().explain("good").counterfactual is None


@pytest.mark.parametrize(
    "text", ["good", "!", "\U0001f60d", "good " * 500, "good. " * 500, "[MASK]"]
)
def test_explain_handles_unusual_texts(text: str) -> None:
    explanation = CLASSIFIER.explain(text)
    assert explanation.sentences
    assert all(part.end <= len(text) for part in explanation.sentences)
    assert sum(part.weight for part in explanation.sentences) >= 0


def test_only_sentence_is_compared_with_an_empty_text() -> None:
    text = "  good film "
    assert weights_of(text, CLASSIFIER.explain(text).sentences) == [("good film", 2.0)]


def test_explain_groups_many_sentences_and_divides_the_heaviest_passages() -> None:
    text = " ".join(
        ["The film." for _ in range(2500)] + ["Great."] + ["A film." for _ in range(2499)]
    )
    network = Counting()
    explanation = Classifier(tiny.bundle(), network=network).explain(text)
    parts = weights_of(text, explanation.sentences)
    assert len(parts) < 200
    assert max(parts, key=lambda part: part[1])[0] == "Great."
    assert explanation.sentences[0].start == 0
    assert explanation.sentences[-1].end == len(text)
    assert network.rows <= 2 * 800 + 200


@given(Sentences, st.integers(16, 300))
def test_explain_keeps_budget_and_agrees_with_predict(texts: list[str], budget: int) -> None:
    text = " ".join(texts)
    network = Counting()
    classifier = Classifier(tiny.bundle(), network=network)
    explanation = classifier.explain(text, budget=budget)
    whole = -(-explanation.prediction.tokens.total // 14)
    assert whole <= explanation.forward_passes <= whole + budget
    assert (
        network.rows <= explanation.forward_passes + whole
    )  # and the verification of the counterfactual
    assert explanation == CLASSIFIER.explain(text, budget=budget)
    assert explanation.prediction == CLASSIFIER.predict([text])[0]
    ends = [0, *(part.end for part in explanation.sentences)]
    assert all(end <= part.start for end, part in zip(ends, explanation.sentences, strict=False))
    if explanation.counterfactual:
        remaining = CLASSIFIER.predict([without(text, explanation.counterfactual.parts)])[0]
        assert remaining == explanation.counterfactual.prediction
        assert remaining.label != explanation.prediction.label


@given(Sentences)
def test_weights_in_one_window_are_differences_of_predictions(texts: list[str]) -> None:
    text = " ".join(texts)
    classifier = wide_classifier(window=128)
    explanation = classifier.explain(text)
    if len(explanation.sentences) > 1:
        for part in (*explanation.sentences, *explanation.words):
            remaining = without(text, [part])
            if classifier.predict_each([remaining])[0].__class__ is not TextError:
                expected = explanation.log_odds - log_odds(classifier, remaining)
                assert part.weight == pytest.approx(expected, abs=1e-6)


@given(Texts)
def test_explain_accepts_the_same_texts_as_predict(text: str) -> None:
    [prediction] = CLASSIFIER.predict_each([text])
    if isinstance(prediction, TextError):
        with pytest.raises(TextError, match=prediction.reason):
            CLASSIFIER.explain(text)
    else:
        explanation = CLASSIFIER.explain(text)
        assert explanation.prediction == prediction
        assert all(0 <= part.start < part.end <= len(text) for part in explanation.sentences)


def test_explain_does_not_run_unchanged_windows_again() -> None:
    network = Counting()
    text = "good film. " * 14  # three windows of 14 tokens; sentences of 3 tokens
    Classifier(tiny.bundle(), network=network).explain(text, budget=60)
    assert network.rows <= 3 + 60 + 3


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
def test_explain_keeps_budget_for_sentences_of_many_windows(text: str, budget: int) -> None:
    explanation = CLASSIFIER.explain(text, budget=budget)
    assert explanation.forward_passes <= budget + -(-explanation.prediction.tokens.total // 14)


@pytest.mark.parametrize("budget", [0, 15, -1, 2.5, "many", None, True])
def test_explain_rejects_invalid_budget(budget: object) -> None:
    with pytest.raises(InputError) as caught:
        CLASSIFIER.explain("good", budget=budget)  # type: ignore[arg-type]
    assert caught.value.code == "invalid-budget"


@pytest.mark.parametrize("text", ["", " \n", "\x00", None, 7])
def test_explain_rejects_invalid_text(text: object) -> None:
    with pytest.raises(TextError):
        CLASSIFIER.explain(text)  # type: ignore[arg-type]


def test_explain_respects_deadline() -> None:
    with pytest.raises(DeadlineError):
        CLASSIFIER.explain("good film", context=CallContext(0))


def test_target_label_is_the_predicted_one_without_positive() -> None:
    def three(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        moods = tiny.count_moods(ids, mask)
        return np.concatenate([moods[:, :1], np.zeros((len(ids), 1), np.float32), moods[:, 1:]], 1)

    classifier = Classifier(tiny.bundle(labels=("bad", "fair", "good")), network=three)
    text = "Awful. The film. Good."
    explanation = classifier.explain(text + " Bad.")
    assert (explanation.prediction.label, explanation.target_label) == ("bad", "bad")
    weights = [part.weight for part in explanation.sentences]
    assert weights[0] > 0 > weights[2]
    negative, fair, positive = explanation.prediction.probabilities.values()
    assert explanation.log_odds == pytest.approx(np.log(negative / (fair + positive)))


def test_explain_with_the_default_model() -> None:
    classifier = Classifier.load()
    text = "The music is lovely. But the plot is a dull, lazy mess. I went home."
    explanation: Explanation = classifier.explain(text)
    heaviest = min(explanation.sentences, key=lambda part: part.weight)
    assert text[heaviest.start : heaviest.end] == "But the plot is a dull, lazy mess."
    for part in (*explanation.sentences, *explanation.words):
        expected = explanation.log_odds - log_odds(classifier, without(text, [part]))
        assert part.weight == pytest.approx(expected, abs=0.02)
    assert explanation.counterfactual is not None
    assert explanation.counterfactual.prediction.label == "positive"
    assert classifier.explain(text) == explanation


def test_explain_uses_the_calibration_of_the_whole_text() -> None:
    """The whole text is in the long group (not calibrated), the remaining text in the short one."""
    classifier = tiny.grouped_classifier()
    text = "Good, good. Bad film the."
    explanation = classifier.explain(text, risk=0.1)
    assert explanation.prediction == classifier.predict([text], risk=0.1)[0]
    assert explanation.log_odds == pytest.approx(log_odds(classifier, text)) == pytest.approx(2.0)
    assert weights_of(text, explanation.sentences) == [
        ("Good, good.", 4.0),
        ("Bad film the.", -2.0),
    ]
    assert explanation.counterfactual is not None
    assert (
        explanation.counterfactual.prediction == classifier.predict(["Bad film the."], risk=0.1)[0]
    )
    assert explanation.counterfactual.prediction.score == pytest.approx(0.731, abs=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_explain_removes_the_tokens_of_each_word(kind: str) -> None:
    serialized = KINDS[kind]()
    tokenizer = ReviewTokenizer(serialized)
    mood = np.zeros(tokenizer.size, np.float32)
    for word, weight in (("good", 1), ("bad", -1)):
        for text in (word, f"a {word}"):
            mood[tokenizer.encode_with_offsets(text).ids[-1]] = weight

    def count(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        moods = (mood[ids] * mask).sum(axis=1)
        return np.stack([-moods, moods], axis=1)

    bundle = replace(tiny.bundle(window=64), tokenizer=serialized)
    text = "the film was good.  a bad film &amp; a bad, bad film.<br />good the film"
    explanation = Classifier(bundle, network=count).explain(text)
    assert weights_of(text, explanation.sentences) == [
        ("the film was good.", 2.0),
        ("a bad film &amp; a bad, bad film.", -6.0),
        ("good the film", 2.0),
    ]
    assert weights_of(text, explanation.words) == [("bad", -2.0)] * 3
