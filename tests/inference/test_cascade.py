from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelsense import Classifier
from reelsense.bundle import Bundle, Calibration, Cascade, read_bundle
from tests import any_labels, cascades, tiny

EASY, DIFFICULT = "a great and good film", "a dull film"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return cascades.write(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def classifier(bundle: Bundle) -> Classifier:
    return Classifier(bundle)


@pytest.fixture(scope="module")
def alone(bundle: Bundle) -> list[Classifier]:
    return [Classifier(model) for model in bundle.models]


def test_cascade_answers_with_the_second_model_below_the_threshold(
    classifier: Classifier, alone: list[Classifier]
) -> None:
    first, second = (model.predict_proba([EASY, DIFFICULT]) for model in alone)
    assert first[0].max() > 0.9 > first[1].max()
    scored = classifier.predict_proba([EASY, DIFFICULT])
    np.testing.assert_allclose(scored, [first[0], second[1]], atol=1e-9)
    assert not np.allclose(second[1], first[1])


WORDS = st.sampled_from(["good", "bad", "great", "awful", "dull", "moving", "the", ""])


@settings(max_examples=30, deadline=None)
@given(texts=st.lists(st.lists(WORDS, max_size=6).map(" ".join), max_size=8))
def test_cascade_prediction_does_not_depend_on_other_texts(
    classifier: Classifier, alone: list[Classifier], texts: list[str]
) -> None:
    for text, together in zip(texts, classifier.predict_each(texts), strict=True):
        [single] = classifier.predict_each([text])
        assert together.__class__ is single.__class__
        if text.strip():
            [first] = alone[0].predict([text])
            expected = first if first.score >= 0.9 else alone[1].predict([text])[0]
            assert together.score == pytest.approx(expected.score, abs=1e-9)  # type: ignore[union-attr]


def test_cascade_has_its_own_calibration_and_length_groups(bundle: Bundle) -> None:
    manifest = replace(bundle.manifest, length_groups=(tiny.SENTENCES,), risk_control=tiny.RISKS)
    hot = replace(manifest, calibration=Calibration(temperature=2.0))
    [short], [long] = (
        Classifier(replace(bundle, manifest=hot)).predict([t]) for t in ("dull", EASY)
    )
    plain = Classifier(bundle).predict(["dull", EASY])
    for prediction, before in zip((short, long), plain, strict=True):
        odds = np.log(before.score / (1 - before.score)) / 2
        assert prediction.score == pytest.approx(1 / (1 + np.exp(-odds)), abs=1e-6)
    assert (short.threshold, long.threshold) == (None, 0.9)


@pytest.mark.parametrize("text", [EASY, DIFFICULT])
def test_explanation_of_a_cascade_adds_up_to_its_prediction(
    classifier: Classifier, text: str
) -> None:
    explanation = classifier.explain(f"{text}. The film. A moving film.")
    [prediction] = classifier.predict([explanation.text])
    assert explanation.prediction == prediction
    odds = np.log(prediction.probabilities["positive"] / prediction.probabilities["negative"])
    assert explanation.log_odds == pytest.approx(odds, abs=1e-6)


def test_cascade_of_length_groups_counts_tokens_of_the_first_model(bundle: Bundle) -> None:
    second = any_labels.bundle({"negative": ["dull"], "positive": ["mo"]}, name="other words")
    unknown = replace(bundle, models=(bundle.models[0], second))
    [prediction] = Classifier(unknown).predict(["moving"])
    assert prediction.tokens.total == bundle_tokens(bundle, "moving")


def bundle_tokens(bundle: Bundle, text: str) -> int:
    return Classifier(bundle.models[0]).predict([text])[0].tokens.total


def test_cascade_is_cached_and_can_be_sent_in_memory(bundle: Bundle) -> None:
    classifier = Classifier(bundle.in_memory(), cache_size=10)
    assert classifier.predict([DIFFICULT, EASY]) == classifier.predict([DIFFICULT, EASY])
    assert classifier.size == sum(model.size for model in bundle.models)


def test_cascade_loads_from_its_folder(tmp_path: Path) -> None:
    bundle = cascades.write(tmp_path)
    read = read_bundle(tmp_path / "cascade")
    assert isinstance(read.manifest.cascade, Cascade)
    assert read.manifest == bundle.manifest
    classifier = Classifier.load(tmp_path / "cascade")
    assert classifier.predict([DIFFICULT]) == Classifier(bundle).predict([DIFFICULT])
