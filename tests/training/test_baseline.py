import pytest

from reelsense.datasets.reviews import Split
from reelsense.errors import TrainingError
from reelsense.training.baseline import train_baseline
from tests.training.conftest import LABELS


def test_it_learns_words(split: Split) -> None:
    result = train_baseline(split, LABELS, split.held_out)
    assert result.held_out_accuracy > 0.9
    assert result.test_accuracy == result.held_out_accuracy
    assert "held-out accuracy" in result.as_text()
    assert "test accuracy" not in train_baseline(split, LABELS).as_text()


def test_a_label_that_nobody_shows(split: Split) -> None:
    with pytest.raises(TrainingError, match="do not show all"):
        train_baseline(split, [*LABELS, "mixed"])
