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


def test_predict_returns_label_score_and_tokens() -> None:
    prediction = CLASSIFIER.predict(["a good film"])[0]
    assert prediction.label == "positive"
    assert prediction.score == prediction.positive == pytest.approx(1 / (1 + np.exp(-2)))
    assert prediction.positive + prediction.negative == pytest.approx(1)
    assert prediction.tokens.total == prediction.tokens.scored == 3


@given(Texts)
def test_predict_agrees_with_predict_proba_and_keeps_order(texts: list[str]) -> None:
    predictions, table = CLASSIFIER.predict(texts), CLASSIFIER.predict_proba(texts)
    assert table.shape == (len(texts), 2)
    assert [[row.negative, row.positive] for row in predictions] == table.tolist()
    alone = [CLASSIFIER.predict([text])[0] for text in texts]
    assert predictions == alone


def test_predict_scores_all_windows_of_a_long_text() -> None:
    filler = "the " * 100
    assert CLASSIFIER.predict([filler + "good"])[0].label == "positive"
    assert CLASSIFIER.predict([filler + "awful"])[0].label == "negative"
    assert CLASSIFIER.predict([filler])[0].tokens.total == 100


def test_predict_scores_long_lists_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifiers, "SLICE", 3)
    texts = [f"{'good ' * (n % 4)}bad film" for n in range(10)]
    expected = [tiny.classifier().predict([text])[0] for text in texts]
    assert CLASSIFIER.predict(texts) == expected
    assert CLASSIFIER.predict_proba(texts).shape == (10, 2)


@pytest.mark.parametrize(
    ("bad", "code"),
    [("  \n", "blank"), (None, "missing"), (7, "not-a-string"), ("\x00\x01", "unreadable")],
)
def test_predict_names_position_of_invalid_text(
    bad: object, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifiers, "SLICE", 2)
    texts = ["good film"] * 5 + [bad]
    for method in (CLASSIFIER.predict, CLASSIFIER.predict_proba):
        with pytest.raises(TextError) as caught:
            method(texts)  # type: ignore[arg-type]
        assert (caught.value.position, caught.value.code) == (5, code)


def test_predict_rejects_one_string() -> None:
    for method in (CLASSIFIER.predict, CLASSIFIER.predict_each, CLASSIFIER.predict_proba):
        with pytest.raises(InputError) as caught:
            method("good film")
        assert caught.value.code == "not-a-list"


def test_predict_supports_three_labels() -> None:
    def three(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return np.tile(np.array([0.0, 1.0, 0.5], dtype=np.float32), (len(ids), 1))

    bundle = tiny.bundle(labels=("bad", "fair", "good"))
    prediction = classifiers.Classifier(bundle, network=three).predict(["a film"])[0]
    assert prediction.label == "fair"
    assert list(prediction.probabilities) == ["bad", "fair", "good"]
    with pytest.raises(KeyError):
        _ = prediction.positive


def test_unsure_prediction_keeps_its_label() -> None:
    cautious = tiny.cautious_classifier()
    once, twice = cautious.predict(["a good film", "a good good film"])
    assert (once.verdict, once.label) == ("unsure", "positive")
    assert twice.verdict == "positive"
    assert cautious.predict(["a good film"], risk=0.1)[0].verdict == "positive"
    assert cautious.predict(["a good good film"], risk=0.01)[0].verdict == "unsure"
    with pytest.raises(InputError) as caught:
        CLASSIFIER.predict(["a good film"], risk=0.1)
    assert caught.value.code == "no-thresholds"


STARRED = tiny.star_classifier()


def stars_of(mood: float) -> float:
    weights = np.exp([-mood, 0.0, mood])
    return float(weights @ np.array(tiny.STARS) / weights.sum())


@given(Texts)
def test_stars_do_not_change_the_labels(texts: list[str]) -> None:
    predictions = STARRED.predict(texts)
    unstarred = [replace(prediction, stars=None) for prediction in predictions]
    assert unstarred == CLASSIFIER.predict(texts)
    assert np.array_equal(STARRED.predict_proba(texts), CLASSIFIER.predict_proba(texts))
    if texts:
        scored = STARRED.score(texts)
        assert np.array_equal(scored.probabilities, STARRED.predict_proba(texts))
        assert scored.stars is not None
        assert scored.stars.tolist() == [prediction.stars for prediction in predictions]


def test_stars_are_those_of_the_mean_of_the_windows() -> None:
    """Of two windows the first has the logits of two good words and the second of none."""
    once, twice = STARRED.predict(["a good film", "good good " + "the " * 26])
    assert once.stars == pytest.approx(stars_of(1))
    assert twice.stars == pytest.approx(stars_of(1))
    assert [
        prediction.stars for prediction in STARRED.predict(["awful", "the film"])
    ] == pytest.approx([stars_of(-1), stars_of(0)])


def test_model_without_ratings_predicts_no_stars() -> None:
    assert CLASSIFIER.predict(["good"])[0].stars is None
    assert CLASSIFIER.score(["good"]).stars is None


def test_score_names_position_of_invalid_text() -> None:
    with pytest.raises(TextError) as caught:
        STARRED.score(["good", " "], first=5)
    assert (caught.value.position, caught.value.code) == (6, "blank")


def test_cached_text_is_not_computed_again() -> None:
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


def test_predict_each_returns_errors_in_place() -> None:
    texts: list[object] = ["good", " ", "bad", "\u200b", 7, *["good"] * 600, "\u200b"]
    predictions = CLASSIFIER.predict_each(texts)  # type: ignore[arg-type]
    codes = {error.position: error.code for error in predictions if isinstance(error, TextError)}
    assert codes == {1: "blank", 3: "unreadable", 4: "not-a-string", 605: "unreadable"}
    assert [predictions[0], predictions[2]] == CLASSIFIER.predict(["good", "bad"])
    assert CLASSIFIER.predict_each([]) == []
    assert all(
        isinstance(prediction, TextError) for prediction in CLASSIFIER.predict_each(["", "\u200b"])
    )


GROUPED = tiny.grouped_classifier()


def test_predict_uses_calibration_and_threshold_of_the_length_group() -> None:
    """Two good words of four are 88 %, and of five 98 %."""
    short, longer = "good good film the", "good good film the the"
    at_2, at_10 = GROUPED.predict([short, longer]), GROUPED.predict([short, longer], risk=0.1)
    assert [prediction.score for prediction in at_2] == pytest.approx([0.881, 0.982], abs=1e-3)
    assert [(prediction.threshold, prediction.verdict) for prediction in at_2] == [
        (None, "unsure"), (0.9, "positive")
    ]  # fmt: skip
    assert [(prediction.threshold, prediction.verdict) for prediction in at_10] == [
        (0.7, "positive"), (0.0, "positive")
    ]  # fmt: skip


def test_threshold_is_zero_for_model_without_thresholds() -> None:
    assert CLASSIFIER.predict(["a film"])[0].threshold == 0


@given(Texts)
def test_prediction_by_length_group_does_not_depend_on_other_texts(texts: list[str]) -> None:
    predictions = GROUPED.predict(texts, risk=0.1)
    assert predictions == [GROUPED.predict([text], risk=0.1)[0] for text in texts]
    assert [[row.negative, row.positive] for row in predictions] == GROUPED.predict_proba(
        texts
    ).tolist()
    if texts:
        assert GROUPED.score(texts).tokens.tolist() == [
            prediction.tokens.total for prediction in predictions
        ]
    for prediction in predictions:
        assert prediction.threshold == (0.7 if prediction.tokens.total <= 4 else 0.0)
        assert (prediction.verdict == "unsure") == (prediction.score < (prediction.threshold or 0))
