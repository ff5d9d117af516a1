import pytest

from reelsense.datasets.reviews import Review, Split
from reelsense.training.outcome import describe_outcome, read_outcome
from tests.conftest import LABELS


class FakeData:
    def __init__(self, split: Split) -> None:
        self.split, self.labels = split, LABELS


def metadata(accuracy: float, reviews: int, majority: int) -> dict[str, object]:
    return {
        "validation": {"accuracy": accuracy},
        "validation_set": {"reviews": reviews, "majority": majority},
    }


@pytest.mark.parametrize(
    ("accuracy", "reviews", "majority", "useful"),
    [(0.9, 90, 45, True), (0.6, 90, 45, False), (0.6, 900, 450, True), (0.5, 4, 2, False)],
)
def test_outcome_is_useful_if_its_interval_is_above_the_majority_class(
    accuracy: float, reviews: int, majority: int, useful: bool
) -> None:
    outcome = read_outcome(metadata(accuracy, reviews, majority))
    assert outcome is not None
    assert outcome.is_useful is useful


def test_read_outcome_of_other_checkpoints_is_none() -> None:
    assert read_outcome({"validation": {"loss": 0.0}}) is None


def test_describe_outcome_compares_with_baselines(split: Split) -> None:
    outcome = read_outcome(metadata(0.75, 40, 22))
    assert outcome is not None
    accuracy, comparison, width = describe_outcome(outcome, FakeData(split))  # type: ignore[arg-type]  # a fake
    assert accuracy == "validation accuracy 75.0% (95 % interval 59.8% to 85.8%, 40 texts)"
    assert comparison == "for comparison: bag of words 100.0%, majority class 55.0%"
    assert "26 percentage points" in width


def test_describe_outcome_warns_of_useless_models() -> None:
    outcome = read_outcome(metadata(0.55, 4000, 2200))
    assert outcome is not None
    rows = [Review(str(n), f"word{n}", LABELS[n % 2], None, str(n)) for n in range(8)]
    data = FakeData(Split(rows[:4], rows[4:]))  # no word occurs twice
    _, comparison, warning = describe_outcome(outcome, data)  # type: ignore[arg-type]  # a fake
    assert comparison == "for comparison: majority class 55.0%"
    assert warning.startswith("warning")
