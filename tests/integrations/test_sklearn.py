"""The estimators, with scikit-learn's and cleanlab's own tools."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from cleanlab.classification import CleanLearning
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.exceptions import NotFittedError, SkipTestWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.utils import check_array
from sklearn.utils.estimator_checks import check_estimator

from reelsense.bundle import write_bundle
from reelsense.errors import BundleError, InputError, TextError
from reelsense.integrations import sklearn
from reelsense.integrations.sklearn import SentenceVectors, SentimentClassifier
from tests import tiny, tiny_network

TEXTS = ["a good film", "bad", "great", "an awful, awful film", "good, good", "not bad"] * 5
LABELS = ["yes", "no"] * 15


@pytest.fixture
def model(tmp_path: Path) -> Iterator[Path]:
    """A bundle whose sentence vectors are (mood, -mood)."""
    write_bundle(tmp_path / "tiny", tiny.bundle(network=tiny_network.layered_network()))
    yield tmp_path / "tiny"
    sklearn._encoder.cache_clear()


def test_classifier_learns_the_labels(model: Path) -> None:
    classifier = SentimentClassifier(model).fit(TEXTS, LABELS)
    assert classifier.classes_.tolist() == ["no", "yes"]
    assert classifier.predict(["good", "bad film"]).tolist() == ["yes", "no"]
    probabilities = classifier.predict_proba(pd.Series(["good", "bad"], index=[7, 3]))
    assert probabilities.shape == (2, 2)
    assert probabilities.sum(axis=1) == pytest.approx(1)
    assert probabilities[0, 1] > 0.5 > probabilities[1, 1]
    assert classifier.score(TEXTS, LABELS) == 1


def test_classifier_uses_sample_weights(model: Path) -> None:
    labels = ["yes", "no"]
    both = SentimentClassifier(model).fit(["film"] * 2, labels, sample_weight=[1, 9])
    assert both.predict_proba(["film"])[0] == pytest.approx([0.9, 0.1], abs=0.01)


def test_classifier_is_cloned_and_searched(model: Path) -> None:
    classifier = clone(SentimentClassifier(model)).set_params(C=0.5)
    assert classifier.get_params() == {
        "model": model,
        "C": 0.5,
        "class_weight": None,
        "max_iter": 1000,
    }
    search = GridSearchCV(classifier, {"C": [1e-9, 10.0]}, cv=3, scoring="neg_log_loss")
    search.fit(np.array(TEXTS), LABELS)
    assert search.best_params_ == {"C": 10.0}
    assert search.predict(["great"]).tolist() == ["yes"]


def test_vectors_are_a_step_of_pipelines(model: Path) -> None:
    pipeline = make_pipeline(SentenceVectors(), LogisticRegression())
    pipeline.set_params(sentencevectors__model=model).fit(TEXTS, LABELS)
    assert pipeline.score(TEXTS, LABELS) == 1
    assert pipeline[:-1].get_feature_names_out().tolist() == [
        "sentencevectors0",
        "sentencevectors1",
    ]
    vectors = SentenceVectors(model).set_output(transform="pandas")
    frame = vectors.fit_transform(pd.Series(["good", "bad"], index=[7, 3]))
    assert frame.to_dict("index") == {
        7: {"sentencevectors0": 1, "sentencevectors1": -1},
        3: {"sentencevectors0": -1, "sentencevectors1": 1},
    }


def test_cleanlab_finds_a_wrong_label(model: Path) -> None:
    """With cross-validation, as its documentation recommends."""
    labels = np.array([0, 1] * 15)
    labels[4] = 1  # good, good
    texts = np.array(TEXTS)
    issues = CleanLearning(SentimentClassifier(model), cv_n_folds=5).find_label_issues(
        texts, labels
    )
    assert issues["label_quality"].idxmin() == 4
    probabilities = cross_val_predict(
        SentimentClassifier(model), texts, labels, cv=5, method="predict_proba"
    )
    assert probabilities.shape == (30, 2)


def test_fitted_estimators_are_small_and_notice_another_model(model: Path) -> None:
    fitted = SentimentClassifier(model).fit(TEXTS, LABELS)
    stored = pickle.dumps(fitted)
    assert len(stored) < 10_000
    restored = pickle.loads(stored)  # noqa: S301  # the bytes above
    assert restored.predict(["bad"]).tolist() == ["no"]

    sklearn._encoder.cache_clear()
    write_bundle(model, tiny.bundle(network=tiny_network.layered_network(), window=8))
    with pytest.raises(BundleError) as caught:
        restored.predict(["bad"])
    assert caught.value.code == "model-changed"


@pytest.mark.parametrize(
    ("texts", "code"),
    [([], "no-texts"), ("good", "not-a-list"), (pd.DataFrame({"text": ["good"]}), "not-a-list")],
)
def test_estimators_reject_what_is_no_list_of_texts(model: Path, texts: Any, code: str) -> None:
    for estimator in (SentimentClassifier(model), SentenceVectors(model)):
        with pytest.raises(InputError) as caught:
            estimator.fit(texts, ["yes"])
        assert caught.value.code == code


def test_estimators_report_the_position_of_a_blank_text(model: Path) -> None:
    with pytest.raises(TextError) as caught:
        SentimentClassifier(model).fit(["good", " "], ["yes", "no"])
    assert (caught.value.code, caught.value.position) == ("blank", 1)


def test_classifier_rejects_labels_of_another_length(model: Path) -> None:
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        SentimentClassifier(model).fit(["good", "bad"], ["yes"])
    with pytest.raises(NotFittedError):
        SentimentClassifier(model).predict(["good"])


class _NumberEncoder:
    """Rows of numbers in place of texts, and the same as sentence vectors."""

    manifest = SimpleNamespace(version="0", name="numbers")
    dimensions = 10

    def vectors(self, rows: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(rows)


class _Numbers:
    """Declares an estimator as one for tables of numbers: scikit-learn has no checks for texts."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.input_tags.two_d_array, tags.input_tags.one_d_array = True, False
        return tags


class _NumberClassifier(_Numbers, SentimentClassifier):
    pass


class _NumberVectors(_Numbers, SentenceVectors):
    pass


_NOT_FOR_TEXTS = dict.fromkeys(
    (
        "check_n_features_in",
        "check_n_features_in_after_fitting",
        "check_transformer_general",
    ),
    "texts have no number of features",
)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@pytest.mark.parametrize("estimator", [_NumberClassifier(), _NumberVectors()])
def test_estimators_pass_the_checks_of_scikit_learn(
    estimator: SentimentClassifier | SentenceVectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sklearn, "_encoder", lambda *_: _NumberEncoder())
    monkeypatch.setattr(sklearn, "_texts", check_array)
    results = check_estimator(estimator, expected_failed_checks=_NOT_FOR_TEXTS)
    assert sum(result["status"] == "passed" for result in results) > 30


def test_estimators_declare_that_they_read_texts() -> None:
    for estimator in (SentimentClassifier(), SentenceVectors()):
        with pytest.warns(SkipTestWarning, match="string=True"):
            check_estimator(estimator)
