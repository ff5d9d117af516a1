"""The baseline: logistic regression over words and word pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from tqdm import tqdm

from reelsense.datasets.reviews import Review, Split
from reelsense.errors import InputError
from reelsense.evaluation.predictions import LabelledPredictions
from reelsense.text import clean

_STRENGTHS = (1.0, 10.0, 100.0)  # candidates for C, the inverse regularization
_FOLDS = 5


class BagOfWordsModel:
    """A bag-of-words classifier; a `Scorer`."""

    def __init__(self, pipeline: Pipeline, strength: float, validation_accuracy: float) -> None:
        self._pipeline = pipeline
        self.strength, self.validation_accuracy = strength, validation_accuracy

    @property
    def labels(self) -> tuple[str, ...]:
        """In the order of the columns of `predict_proba`."""
        return tuple(map(str, self._pipeline.classes_))

    def predict_proba(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return the probabilities of `texts`, (texts, labels)."""
        return np.asarray(self._pipeline.predict_proba(list(map(clean.clean, texts))))


def train_baseline(split: Split, labels: Sequence[str]) -> BagOfWordsModel:
    """Train on `split.train`, choose the regularization on `split.validation`.

    Raises:
        InputError: A label is missing from the training data (code `missing-label`), or no word
            occurs twice (code `too-little-text`).
    """
    train_texts, train_labels = _texts_and_labels(split.train)
    validation_texts, validation_labels = _texts_and_labels(split.validation)
    if set(train_labels) != set(labels):
        missing = sorted(set(labels) - set(train_labels))
        raise InputError(
            f"no training review has the label {', '.join(map(repr, missing))}: expected reviews "
            f"of all labels {list(labels)}",
            code="missing-label",
        )
    vectorizer = _vectorizer()
    try:
        counts = vectorizer.fit_transform(tqdm(train_texts, desc="counting", unit=" reviews"))
    except ValueError as error:  # no word occurs twice
        raise InputError(
            f"too little training text ({error}): expected some words to occur twice",
            code="too-little-text",
        ) from error
    validation_counts = vectorizer.transform(validation_texts)
    models = [
        LogisticRegression(C=strength, max_iter=1000).fit(counts, train_labels)
        for strength in tqdm(_STRENGTHS, desc="fitting")
    ]
    accuracies = [float(model.score(validation_counts, validation_labels)) for model in models]
    best = accuracies.index(max(accuracies))
    return BagOfWordsModel(
        make_pipeline(vectorizer, models[best]), _STRENGTHS[best], accuracies[best]
    )


def cross_validate(reviews: Sequence[Review]) -> LabelledPredictions | None:
    """Return predictions for `reviews` by models that were trained on the other folds.

    Reviews of labels with too few of them are left out. None: fewer than two labels are left, or no
    word occurs twice.
    """
    counts = Counter(review.label for review in reviews if review.label is not None)
    labels = sorted(label for label, count in counts.items() if count >= _FOLDS)
    known = [review for review in reviews if review.label in labels]
    if len(labels) < 2:
        return None
    texts, names = _texts_and_labels(known)
    targets = np.array([labels.index(name) for name in names])
    model = make_pipeline(_vectorizer(), LogisticRegression(C=_STRENGTHS[1], max_iter=1000))
    try:
        probabilities = cross_val_predict(model, texts, targets, cv=_FOLDS, method="predict_proba")
    except ValueError:  # no word occurs twice
        return None
    return LabelledPredictions(known, tuple(labels), np.asarray(probabilities), targets)


def _vectorizer() -> TfidfVectorizer:
    return TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)


def _texts_and_labels(reviews: Sequence[Review]) -> tuple[list[str], list[str]]:
    labelled = [(clean.clean(r.text), r.label) for r in reviews if r.label is not None]
    return [text for text, _ in labelled], [label for _, label in labelled]
