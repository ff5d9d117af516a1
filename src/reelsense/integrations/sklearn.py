"""Estimators for scikit-learn on top of a bundle's encoder. Need the extra [sklearn].

Fitted estimators contain no network: they store the name of the model, and load it where they are
used.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reelsense.errors import BundleError, InputError
from reelsense.extras import importable
from reelsense.inference.embedding import Encoder
from reelsense.inference.texts import checked_texts

importable("sklearn", "sklearn", __name__)

from sklearn.base import (  # noqa: E402  # after the check
    BaseEstimator,
    ClassifierMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.utils.validation import check_consistent_length, check_is_fitted  # noqa: E402

Texts = Iterable[str]


class _TextEstimator(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Tells scikit-learn that the input is one-dimensional and contains strings."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        return tags


class SentenceVectors(
    ClassNamePrefixFeaturesOutMixin,  # type: ignore[misc]
    TransformerMixin,  # type: ignore[misc]
    _TextEstimator,
):
    """Transformer from texts to the sentence vectors of a bundle's encoder.

    A vector is the input of the model's output layer, averaged over the windows of a long text.

    Args:
        model: The model, as in `Classifier.load`.

    Example:
        >>> from sklearn.pipeline import make_pipeline
        >>> from sklearn.svm import LinearSVC
        >>> pipeline = make_pipeline(SentenceVectors(), LinearSVC())
    """

    def __init__(self, model: str | Path | None = None) -> None:
        self.model = model

    def fit(self, X: Texts, y: object = None) -> Self:  # noqa: ARG002, N803  # scikit-learn's names
        """Check the texts, and load the encoder.

        Args:
            X: The texts, as in `Classifier.predict`; at least one.
            y: Ignored.

        Returns:
            The transformer.

        Raises:
            BundleError: The model does not exist or has no sentence vectors.
            InputError: `X` is empty or no list of texts, or a text cannot be read (TextError).
        """
        _texts(X)
        encoder = _encoder(self.model, os.getpid())
        self.model_version_ = encoder.manifest.version
        self._n_features_out = encoder.dimensions
        return self

    def transform(self, X: Texts) -> NDArray[np.float64]:  # noqa: N803
        """Return the sentence vectors (texts, dimensions) of the texts in `X`.

        Raises:
            BundleError: The model is not the one that `fit` used (`model-changed`).
            InputError: As in `fit`.
        """
        check_is_fitted(self)
        texts = _texts(X)
        encoder = _encoder(self.model, os.getpid())
        if encoder.manifest.version != self.model_version_:
            raise BundleError(
                f"the model {encoder.manifest.name} has version {encoder.manifest.version}, but "
                f"fit used version {self.model_version_}: call fit again",
                code="model-changed",
            )
        return encoder.vectors(texts)


class SentimentClassifier(ClassifierMixin, _TextEstimator):  # type: ignore[misc]
    """Classifier for your own labels: logistic regression on `SentenceVectors`.

    Faster to train and usually less accurate than fine-tuning with `reelsense train`. Probabilities
    are those of the logistic regression; there are no decision thresholds.

    Args:
        model: The model, as in `Classifier.load`.
        C: Inverse of the regularization strength.
        class_weight: "balanced", weights by label, or None.
        max_iter: Maximum number of iterations.

    Attributes:
        classes_: The labels, in the order of the columns of `predict_proba`.

    Example:
        >>> texts = ["A joy.", "A bore.", "What a film!", "I left early."]
        >>> classifier = SentimentClassifier().fit(texts, ["yes", "no", "yes", "no"])
        >>> classifier.predict(["Wonderful."])
        array(['yes'], dtype='<U3')
    """

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        C: float = 1.0,  # noqa: N803
        class_weight: dict[Any, float] | str | None = None,
        max_iter: int = 1000,
    ) -> None:
        self.model = model
        self.C = C
        self.class_weight = class_weight
        self.max_iter = max_iter

    def fit(
        self,
        X: Texts,  # noqa: N803
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Train on texts and their labels.

        Args:
            X: The texts, as in `Classifier.predict`.
            y: Their labels: strings or numbers, at least two different ones.
            sample_weight: The weight of each text; None: 1.

        Returns:
            The classifier.

        Raises:
            BundleError: The model does not exist or has no sentence vectors.
            InputError: `X` is empty or no list of texts, or a text cannot be read (TextError).
            ValueError: `X` and `y` have different lengths, or `y` is invalid.
        """
        texts = _texts(X)
        check_consistent_length(texts, y)
        self.vectors_ = SentenceVectors(self.model).fit(texts)
        self.head_ = LogisticRegression(
            C=self.C, class_weight=self.class_weight, max_iter=self.max_iter
        ).fit(self.vectors_.transform(texts), y, sample_weight)
        self.classes_, self.n_iter_ = self.head_.classes_, self.head_.n_iter_
        return self

    def predict(self, X: Texts) -> NDArray[Any]:  # noqa: N803
        """Return the most probable label (texts) of each text. Raises as `predict_proba`."""
        probabilities = self.predict_proba(X)
        return np.asarray(self.classes_[probabilities.argmax(axis=1)])

    def predict_proba(self, X: Texts) -> NDArray[np.float64]:  # noqa: N803
        """Return the probabilities (texts, labels), columns in the order of `classes_`.

        Raises:
            BundleError: The model is not the one that `fit` used (`model-changed`).
            InputError: As in `fit`.
        """
        check_is_fitted(self)
        return np.asarray(self.head_.predict_proba(self.vectors_.transform(X)))


@cache
def _encoder(model: str | Path | None, _process: int) -> Encoder:
    """Return the encoder of `model`, shared by all estimators of a process.

    One for each process: an engine loaded before a fork would wait for its threads forever.
    """
    return Encoder.load(model)


def _texts(texts: Texts) -> list[str]:
    checked = checked_texts(texts)
    if not checked:
        raise InputError("no texts: expected at least one", code="no-texts")
    return checked
