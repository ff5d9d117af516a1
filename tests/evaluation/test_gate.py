from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from reelsense.datasets.behaviours import behaviour_sentences
from reelsense.datasets.reviews import Review
from reelsense.errors import InputError
from reelsense.evaluation.gate import (
    MAX_EXAMPLES,
    MIN_TEXTS,
    Check,
    Gate,
    Margins,
    ModelAnswers,
    Outcome,
    bootstrap_interval,
    compare,
)
from reelsense.evaluation.robustness import SENTENCES_PER_LABEL
from reelsense.inference.classifier import Classifier
from reelsense.prediction import Prediction, TokenCounts
from tests import tiny


def reviews(*texts: str) -> list[Review]:
    """Return reviews with the label that the words of a text suggest."""
    labels = ["positive" if "good" in text or "great" in text else "negative" for text in texts]
    return [
        Review(text, text, label, None, text) for text, label in zip(texts, labels, strict=True)
    ]


def reversed_moods(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
    return -tiny.count_moods(ids, mask)


FILMS = reviews(*(f"a {word} film {n}" for n in range(50) for word in ("good", "bad")))


def counted(texts: int, more: int, fewer: int, margin: float = 0.01) -> Check:
    """Return the check of two models of which `more` and `fewer` texts favour the second."""
    champion = np.arange(texts) >= more
    challenger = np.arange(texts) < texts - fewer
    shown = [""] * texts
    return compare(
        "films", margin, shown, ModelAnswers(champion, shown), ModelAnswers(challenger, shown)
    )


@pytest.mark.parametrize(
    ("texts", "more", "fewer", "outcome"),
    [
        (1000, 40, 10, "improved"),
        (1000, 0, 0, "within margin"),
        (10_000, 200, 210, "within margin"),
        (10_000, 0, 70, "within margin"),  # significant, but by less than the margin
        (10_000, 0, 120, "regressed"),
        (1000, 10, 40, "regressed"),
        (1000, 20, 33, "inconclusive"),
        (30, 0, 6, "regressed"),
        (30, 0, 5, "inconclusive"),
        (MIN_TEXTS - 1, 0, 0, "inconclusive"),
    ],
)
def test_outcome_follows_from_test_and_interval(
    texts: int, more: int, fewer: int, outcome: Outcome
) -> None:
    check = counted(texts, more, fewer)
    assert (check.improvements, check.regressions) == (more, fewer)
    assert check.difference == pytest.approx((more - fewer) / texts)
    assert check.outcome == outcome


def test_wider_margin_tolerates_a_decrease() -> None:
    assert counted(1000, 10, 40, margin=0.01).outcome == "regressed"
    assert counted(1000, 10, 40, margin=0.05).outcome == "within margin"


def test_p_value_is_that_of_the_exact_test() -> None:
    """Of 5 discordant texts, all favour one model: 2 * 0.5**5."""
    assert counted(100, 0, 5).p_value == pytest.approx(0.0625)


@given(st.integers(1, 3000), st.data())
def test_bootstrap_interval_contains_the_difference(texts: int, data: st.DataObject) -> None:
    more = data.draw(st.integers(0, texts))
    fewer = data.draw(st.integers(0, texts - more))
    low, high = bootstrap_interval(more, fewer, texts)
    assert -1 <= low <= (more - fewer) / texts <= high <= 1
    other_low, other_high = bootstrap_interval(fewer, more, texts)
    assert (-high, -low) == pytest.approx(
        (other_low, other_high), abs=0.25 / texts**0.5 + 1 / texts
    )


def test_bootstrap_interval_equals_that_of_resampled_texts() -> None:
    random, texts = np.random.default_rng(1), 400
    differences = np.array([1] * 30 + [-1] * 10 + [0] * (texts - 40))
    means = random.choice(differences, (4000, texts)).mean(axis=1)
    expected = np.quantile(means, (0.025, 0.975))
    assert bootstrap_interval(30, 10, texts) == pytest.approx(expected, abs=0.006)


def test_compare_returns_some_examples() -> None:
    texts = [str(n) for n in range(10)]
    champion = ModelAnswers(np.arange(10) < 6, ["a"] * 10)
    challenger = ModelAnswers(np.arange(10) > 4, ["b"] * 10)
    check = compare("films", 0.01, texts, champion, challenger)
    assert (check.improvements, check.regressions) == (4, 5)
    assert [change.text for change in check.improved] == texts[6 : 6 + MAX_EXAMPLES]
    assert [change.text for change in check.regressed] == texts[:MAX_EXAMPLES]
    assert (check.regressed[0].champion, check.regressed[0].challenger) == ("a", "b")


def test_gate_finds_regressions_on_labelled_texts() -> None:
    worse = Classifier(tiny.bundle(), network=reversed_moods)
    checks = {check.name: check for check in Gate(tiny.classifier(), worse).check([("f", FILMS)])}
    correct = checks["f: correct labels"]
    assert (correct.texts, correct.champion, correct.challenger) == (100, 1, 0)
    assert correct.outcome == "regressed"
    assert correct.regressed[0].text == FILMS[0].text
    assert "f: not unsure" not in checks  # neither model is ever unsure


class Rule:
    """A model whose probability of "positive" is a function of the text."""

    labels = ("negative", "positive")

    def __init__(self, positive: Callable[[str], float]) -> None:
        self._positive = positive

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        return [self._prediction(self._positive(text)) for text in texts]

    def _prediction(self, positive: float) -> Prediction:
        label = "positive" if positive >= 0.5 else "negative"
        probabilities = {"negative": 1 - positive, "positive": positive}
        score = max(probabilities.values())
        return Prediction(label, score, probabilities, None, label, None, TokenCounts(1, 1))


def test_gate_compares_robustness_rows() -> None:
    """The second model knows the labels of one behaviour; identity terms and typos move it."""
    sentences = {
        sentence.text: float(sentence.label == "positive")
        for behaviour in behaviour_sentences("measuring", SENTENCES_PER_LABEL)
        if behaviour.name == "negation"
        for sentence in behaviour.sentences
    }
    steady = Rule(lambda _: 0.6)
    moved = Rule(lambda text: sentences.get(text, len(text) % 9 / 9))
    gate = Gate(cast(Classifier, steady), cast(Classifier, moved))
    checks = {check.name: check for check in gate.check([("f", FILMS)])}
    negation = checks["negation: correct labels"]
    assert (negation.champion, negation.challenger, negation.outcome) == (0.5, 1, "improved")
    assert negation.margin == Margins().robustness
    for name in ("same probability with other identity terms", "same label with typos"):
        assert checks[name].champion == 1
        assert checks[name].outcome == "regressed"
    identity = checks["same probability with other identity terms"]
    assert identity.regressed[0].champion == "positive from 60% to 60%"
    assert "facts: correct labels" not in checks  # sentences without an opinion


def test_gate_without_sentiment_has_no_template_sentences() -> None:
    labels = ("bad", "good")
    names = dict(zip(("negative", "positive"), labels, strict=True))
    films = [replace(film, label=names[str(film.label)]) for film in FILMS]
    checks = [
        c.name for c in Gate(tiny.classifier(labels), tiny.classifier(labels)).check([("f", films)])
    ]
    assert checks == [
        "f: correct labels",
        *(
            f"same label with {name}"
            for name in ("typos", "link and user name", "numbers and places")
        ),
    ]


def test_gate_compares_verdicts_with_unsure() -> None:
    cautious, sure = tiny.cautious_classifier(), tiny.classifier()
    films = [*FILMS, replace(FILMS[0], label="negative")]
    checks = {c.name: c for c in Gate(cautious, sure).check([("f", films)])}
    unsure, wrong = checks["f: not unsure"], checks["f: no wrong verdicts"]
    assert (unsure.champion, unsure.challenger, unsure.outcome) == (0, 1, "improved")
    assert (wrong.champion, wrong.regressions) == (1, 1)
    assert wrong.regressed[0].champion == "unsure, positive 88%"
    back = {c.name: c for c in Gate(sure, cautious).check([("f", films)])}
    assert back["f: not unsure"].outcome == "regressed"
    assert back["f: not unsure"].margin == Margins().coverage


def test_gate_rejects_other_labels() -> None:
    with pytest.raises(InputError) as raised:
        Gate(tiny.classifier(), tiny.classifier(("bad", "good")))
    assert raised.value.code == "labels-differ"
    with pytest.raises(InputError) as raised:
        Gate(tiny.classifier(), tiny.classifier()).check([("f", [replace(FILMS[0], label="fine")])])
    assert raised.value.code == "unknown-label"
