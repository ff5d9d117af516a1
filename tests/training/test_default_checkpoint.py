"""The checkpoint of the bundled model: the bundle must have been made from it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline
from transformers.utils import logging

from reelsense import Classifier
from reelsense.training.checkpoint import read_metadata
from tests.inference.test_default_model import NEGATIVE, POSITIVE

CHECKPOINT = Path(__file__).parents[2] / "checkpoints" / "default"


def test_transformers_computes_the_logits_of_the_bundle() -> None:
    classifier = Classifier.load()
    metadata = read_metadata(CHECKPOINT)
    assert metadata["recipe"] == classifier.manifest.provenance["recipe"]
    assert metadata["ratings"] == list(classifier.manifest.ratings) == [1, 2, 3, 4, 7, 8, 9, 10]

    model = AutoModelForSequenceClassification.from_pretrained(CHECKPOINT)
    tokenizer = AutoTokenizer.from_pretrained(CHECKPOINT)
    assert list(model.config.id2label.values()) == list(classifier.labels)
    assert model.dtype == torch.float32
    texts = POSITIVE + NEGATIVE
    with torch.no_grad():
        exact = model(**tokenizer(texts, padding=True, return_tensors="pt")).logits
    margins = exact[:, 1] - exact[:, 0]
    int8 = classifier.score(texts).logits
    assert (int8[:, 1] - int8[:, 0]).tolist() == pytest.approx(margins.tolist(), abs=0.5)


def test_pipeline_of_transformers_returns_the_labels_of_the_bundle() -> None:
    texts = [*POSITIVE, *NEGATIVE, "word. " * 600 + "A dull, lazy mess. I left early. " * 40]
    with quiet_transformers():
        classify = pipeline("text-classification", model=str(CHECKPOINT), device="cpu")
        answers: Any = classify(texts, truncation=True, top_k=1, batch_size=4)
    predictions = Classifier.load().predict(texts)
    assert [answer[0]["label"] for answer in answers] == [
        prediction.label for prediction in predictions
    ]
    sure = zip(answers[:-1], predictions[:-1], strict=True)
    assert all(abs(answer[0]["score"] - prediction.score) < 0.1 for answer, prediction in sure)


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Hide that the weights for stars are not used."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    yield
    logging.set_verbosity(verbosity)
