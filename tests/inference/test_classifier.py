from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from reelsense import Classifier
from reelsense.errors import InputError, TextError
from reelsense.inference import classifier as classifiers
from tests import tiny

Texts = st.lists(
    st.lists(st.sampled_from(tiny.WORDS), min_size=1, max_size=60).map(" ".join), max_size=12
)
CLASSIFIER = tiny.classifier()


def test_the_answer_for_one_text() -> None:
    answer = CLASSIFIER.predict(["a good film"])[0]
    assert answer.label == "positive"
    assert answer.score == answer.positive == pytest.approx(1 / (1 + np.exp(-2)))
    assert answer.positive + answer.negative == pytest.approx(1)
    assert answer.tokens.total == answer.tokens.scored == 3


@given(Texts)
def test_predict_and_predict_proba_agree_and_keep_the_order(texts: list[str]) -> None:
    answers, table = CLASSIFIER.predict(texts), CLASSIFIER.predict_proba(texts)
    assert table.shape == (len(texts), 2)
    assert [[a.negative, a.positive] for a in answers] == table.tolist()
    alone = [CLASSIFIER.predict([text])[0] for text in texts]
    assert answers == alone


def test_a_long_text_is_read_whole() -> None:
    """The last word of several windows counts as much as the first."""
    filler = "the " * 100
    assert CLASSIFIER.predict([filler + "good"])[0].label == "positive"
    assert CLASSIFIER.predict([filler + "awful"])[0].label == "negative"
    assert CLASSIFIER.predict([filler])[0].tokens.total == 100


def test_long_lists_are_worked_off_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifiers, "_SLICE", 3)
    texts = [f"{'good ' * (n % 4)}bad film" for n in range(10)]
    expected = [tiny.classifier().predict([text])[0] for text in texts]
    assert CLASSIFIER.predict(texts) == expected
    assert CLASSIFIER.predict_proba(texts).shape == (10, 2)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [("  \n", "blank"), (None, "NoneType"), (7, "int"), ("\x00\x01", "nothing that the model")],
)
def test_what_is_no_text_is_named_by_its_position(
    bad: object, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifiers, "_SLICE", 2)
    texts = ["good film"] * 5 + [bad]
    for method in (CLASSIFIER.predict, CLASSIFIER.predict_proba):
        with pytest.raises(TextError, match=rf"text 5 .*{reason}") as caught:
            method(texts)  # type: ignore[arg-type]
        assert caught.value.position == 5


def test_one_string_is_no_list_of_texts() -> None:
    with pytest.raises(ValueError, match="a list of texts"):
        CLASSIFIER.predict("good film")


def test_other_labels_than_two() -> None:
    def three(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return np.tile(np.array([0.0, 1.0, 0.5], dtype=np.float32), (len(ids), 1))

    bundle = tiny.bundle(labels=("bad", "fair", "good"))
    answer = classifiers.Classifier(bundle, network=three).predict(["a film"])[0]
    assert answer.label == "fair"
    assert list(answer.probabilities) == ["bad", "fair", "good"]
    with pytest.raises(KeyError):
        _ = answer.positive


def test_an_unsure_answer_keeps_its_label() -> None:
    cautious = tiny.cautious_classifier()
    once, twice = cautious.predict(["a good film", "a good good film"])
    assert (once.verdict, once.label) == ("unsure", "positive")
    assert twice.verdict == "positive"
    assert cautious.predict(["a good film"], risk=0.1)[0].verdict == "positive"
    assert cautious.predict(["a good good film"], risk=0.01)[0].verdict == "unsure"
    with pytest.raises(InputError, match="thresholds"):
        CLASSIFIER.predict(["a good film"], risk=0.1)


STARRED = tiny.star_classifier()


def stars_of(mood: float) -> float:
    weights = np.exp([-mood, 0.0, mood])
    return float(weights @ np.array(tiny.STARS) / weights.sum())


@given(Texts)
def test_stars_beside_the_labels(texts: list[str]) -> None:
    predictions, found = STARRED.predict(texts), CLASSIFIER.predict(texts)
    assert [replace(each, stars=None) for each in predictions] == found
    assert np.array_equal(STARRED.predict_proba(texts), CLASSIFIER.predict_proba(texts))
    if texts:
        answers = STARRED.answers(texts)
        assert np.array_equal(answers.probabilities, STARRED.predict_proba(texts))
        assert answers.stars is not None
        assert answers.stars.tolist() == [each.stars for each in predictions]


def test_the_stars_of_a_long_text_are_those_of_the_mean_of_its_windows() -> None:
    """Of two windows the first has the logits of two good words and the second of none."""
    once, twice = STARRED.predict(["a good film", "good good " + "the " * 26])
    assert once.stars == pytest.approx(stars_of(1))
    assert twice.stars == pytest.approx(stars_of(1))
    assert [each.stars for each in STARRED.predict(["awful", "the film"])] == pytest.approx(
        [stars_of(-1), stars_of(0)]
    )


def test_a_model_without_ratings_has_no_stars() -> None:
    assert CLASSIFIER.predict(["good"])[0].stars is None
    assert CLASSIFIER.answers(["good"]).stars is None


def test_answers_name_the_text_that_is_none() -> None:
    with pytest.raises(TextError, match=r"text 1 .*blank"):
        STARRED.answers(["good", " "])


def test_a_text_that_comes_again_is_not_computed_again() -> None:
    rows: list[int] = []

    def counted(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        rows.append(len(ids))
        return tiny.count_moods(ids, mask)

    classifier = Classifier(tiny.bundle(), network=counted, cache_size=10)
    texts = ["good film", "bad film", "good film"]
    first = classifier.predict(texts)
    assert first == tiny.classifier().predict(texts)
    assert sum(rows) == 2
    assert classifier.predict(["a great film", *texts[:2]])[1:] == first[:2]
    assert sum(rows) == 3
    with pytest.raises(TextError) as error:
        classifier.predict(["bad film", "good film", "\u200b"])
    assert error.value.position == 2


def test_each_text_gets_its_answer_or_why_there_is_none() -> None:
    texts: list[object] = ["good", " ", "bad", "\u200b", 7, *["good"] * 600, "\u200b"]
    answers = CLASSIFIER.predict_each(texts)  # type: ignore[arg-type]
    faults = {
        each.position: each.reason.split()[-1] for each in answers if isinstance(each, TextError)
    }
    assert faults == {1: "blank", 3: "read", 4: "int", 605: "read"}
    assert [answers[0], answers[2]] == CLASSIFIER.predict(["good", "bad"])
    assert CLASSIFIER.predict_each([]) == []
    assert all(isinstance(each, TextError) for each in CLASSIFIER.predict_each(["", "\u200b"]))
    with pytest.raises(InputError, match="a list of texts"):
        CLASSIFIER.predict_each("good")


GROUPED = tiny.grouped_classifier()


def test_predict_calibrates_and_decides_by_the_length_of_a_text() -> None:
    """Two good words of four are 88 %, and of five 98 %."""
    short, longer = "good good film the", "good good film the the"
    at_2, at_10 = GROUPED.predict([short, longer]), GROUPED.predict([short, longer], risk=0.1)
    assert [each.score for each in at_2] == pytest.approx([0.881, 0.982], abs=1e-3)
    assert [(each.threshold, each.verdict) for each in at_2] == [
        (None, "unsure"), (0.9, "positive")
    ]  # fmt: skip
    assert [(each.threshold, each.verdict) for each in at_10] == [
        (0.7, "positive"), (0.0, "positive")
    ]  # fmt: skip


def test_a_model_without_thresholds_decides_from_any_score_on() -> None:
    assert CLASSIFIER.predict(["a film"])[0].threshold == 0


@given(Texts)
def test_a_prediction_by_length_does_not_depend_on_the_other_texts(texts: list[str]) -> None:
    answers = GROUPED.predict(texts, risk=0.1)
    assert answers == [GROUPED.predict([text], risk=0.1)[0] for text in texts]
    assert [[a.negative, a.positive] for a in answers] == GROUPED.predict_proba(texts).tolist()
    if texts:
        counted = GROUPED.answers(texts).tokens
        assert counted is not None
        assert counted.tolist() == [each.tokens.total for each in answers]
    for each in answers:
        assert each.threshold == (0.7 if each.tokens.total <= 4 else 0.0)
        assert (each.verdict == "unsure") == (each.score < (each.threshold or 0))
