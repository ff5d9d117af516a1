"""The accuracy of a checkpoint on its validation set, next to simple baselines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reelsense.errors import InputError
from reelsense.evaluation.baseline import train_baseline
from reelsense.evaluation.metrics import share
from reelsense.report.results import Share
from reelsense.training.sources import TrainingData

_WIDE = 0.05
"""Width of a confidence interval from which it is reported."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Shares of correct labels on the validation set."""

    accuracy: Share
    majority: Share  # of the label that is most frequent in training

    @property
    def is_useful(self) -> bool:
        """Whether the 95 % interval of the accuracy is above the majority class."""
        return self.accuracy.low > self.majority.value


def read_outcome(metadata: Mapping[str, Any]) -> Outcome | None:
    """Return the outcome in the metadata of a checkpoint; None for pre-training and older ones."""
    if "validation_set" not in metadata:
        return None
    count, majority = (metadata["validation_set"][key] for key in ("reviews", "majority"))
    correct = round(metadata["validation"]["accuracy"] * count)
    return Outcome(share(correct, count), share(majority, count))


def describe_outcome(outcome: Outcome, data: TrainingData) -> list[str]:
    """Return lines that compare `outcome` with the majority class and a bag of words."""
    accuracy = outcome.accuracy
    lines = [
        f"validation accuracy {accuracy.value:.1%} (95 % interval {accuracy.low:.1%} to "
        f"{accuracy.high:.1%}, {accuracy.total:,} texts)",
        f"for comparison: {_bag_of_words(data)}majority class {outcome.majority.value:.1%}",
    ]
    if accuracy.high - accuracy.low > _WIDE:
        lines.append(
            f"the interval is {100 * (accuracy.high - accuracy.low):.0f} percentage points wide: "
            "with more labelled texts it would be narrower"
        )
    if not outcome.is_useful:
        lines.append(
            "warning: this is not clearly better than the majority class: `reelsense export` "
            "needs --force; check the labels, or add texts"
        )
    return lines


def _bag_of_words(data: TrainingData) -> str:
    try:
        model = train_baseline(data.split, data.labels)
    except InputError:  # too little text
        return ""
    return f"bag of words {model.validation_accuracy:.1%}, "
