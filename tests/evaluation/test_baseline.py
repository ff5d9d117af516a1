import numpy as np
import pytest

from reelsense.datasets.reviews import Split
from reelsense.errors import InputError
from reelsense.evaluation.baseline import train_baseline
from reelsense.evaluation.predictions import predict_labelled
from tests.conftest import LABELS


def test_train_baseline_learns_words(split: Split) -> None:
    model = train_baseline(split, LABELS)
    assert model.validation_accuracy > 0.9
    predictions = predict_labelled(model, split.validation)
    assert predictions.correct.mean() == model.validation_accuracy
    assert np.allclose(predictions.probabilities.sum(axis=1), 1)


def test_train_baseline_rejects_missing_label(split: Split) -> None:
    with pytest.raises(InputError) as raised:
        train_baseline(split, [*LABELS, "mixed"])
    assert raised.value.code == "missing-label"
