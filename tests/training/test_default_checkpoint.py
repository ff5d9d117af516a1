"""The checkpoint beside the bundled model: is it the one that the bundle was made of?"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from reelsense import Classifier
from reelsense.training.checkpoint import read_metadata
from tests.inference.test_default_model import NEGATIVE, POSITIVE

CHECKPOINT = Path(__file__).parents[2] / "checkpoints" / "default"


def test_transformers_opens_it_with_the_logits_of_the_bundle() -> None:
    classifier = Classifier.load()
    made_by = read_metadata(CHECKPOINT)
    assert made_by["recipe"] == classifier.manifest.provenance["recipe"]
    assert made_by["ratings"] == list(classifier.manifest.ratings) == [1, 2, 3, 4, 7, 8, 9, 10]

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
