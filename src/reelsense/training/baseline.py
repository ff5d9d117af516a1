"""What BERT is compared with: logistic regression over words and word pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from tqdm import tqdm

from reelsense import review
from reelsense.datasets.reviews import Review, Split
from reelsense.errors import TrainingError

_STRENGTHS = (1.0, 10.0, 100.0)
"""Tried as C, the inverse of the regularization; the held-out reviews choose."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """How well counting words does."""

    strength: float
    held_out_accuracy: float
    test_accuracy: float | None

    def as_text(self) -> str:
        """Return the result for people."""
        lines = [f"bag of 1- and 2-grams, tf-idf, logistic regression (C = {self.strength:g})"]
        lines.append(f"held-out accuracy {self.held_out_accuracy:.2%}")
        if self.test_accuracy is not None:
            lines.append(f"test accuracy     {self.test_accuracy:.2%}")
        return "\n".join(lines)


def train_baseline(
    split: Split, labels: Sequence[str], test: Sequence[Review] | None = None
) -> Baseline:
    """Train on `split.train`, choose the regularization on `split.held_out`, score `test`."""
    train_texts, train_labels = _texts_and_labels(split.train)
    held_texts, held_labels = _texts_and_labels(split.held_out)
    if set(train_labels) != set(labels):
        raise TrainingError(f"the reviews to train on do not show all of the labels {labels}")
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    try:
        counts = vectorizer.fit_transform(tqdm(train_texts, desc="counting", unit=" reviews"))
    except ValueError as error:  # no word occurs twice
        raise TrainingError(f"too little text to count words in: {error}") from error
    held_counts = vectorizer.transform(held_texts)
    models = [
        LogisticRegression(C=strength, max_iter=1000).fit(counts, train_labels)
        for strength in tqdm(_STRENGTHS, desc="fitting")
    ]
    accuracies = [float(model.score(held_counts, held_labels)) for model in models]
    best = accuracies.index(max(accuracies))
    pipeline = make_pipeline(vectorizer, models[best])
    return Baseline(_STRENGTHS[best], accuracies[best], _accuracy(pipeline, test) if test else None)


def _accuracy(pipeline: Pipeline, reviews: Sequence[Review]) -> float:
    texts, labels = _texts_and_labels(reviews)
    return float(pipeline.score(texts, labels))


def _texts_and_labels(reviews: Sequence[Review]) -> tuple[list[str], list[str]]:
    labelled = [(review.clean(r.text), r.label) for r in reviews if r.label is not None]
    return [text for text, _ in labelled], [label for _, label in labelled]
