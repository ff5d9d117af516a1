"""Training examples: texts with the probability of each label, stars and teacher logits.

A file of examples contains a JSON object per line:
{"text": "...", "target": {"negative": 0.1, "positive": 0.9}, "rating": 8, "source": "SST-2"}.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from reelsense.datasets.reviews import Review
from reelsense.errors import DatasetError
from reelsense.files import atomic


@dataclass(frozen=True, slots=True)
class Example:
    """One training text and its targets."""

    text: str
    target: tuple[float, ...]
    """The probability that each label should get; they sum to 1."""
    rating: int | None = None
    """Stars, where known."""
    source: str = ""
    """Name of the data set that the text comes from; "" if unknown."""
    teacher: tuple[float, ...] = ()
    """Teacher logits over labels and star ratings; empty without a teacher."""
    teacher_texts: tuple[str, ...] = ()
    """The texts that a teacher scores in place of `text`; their logits are averaged."""

    @property
    def scored_texts(self) -> tuple[str, ...]:
        """The texts that a teacher scores for this example."""
        return self.teacher_texts or (self.text,)


def hard_examples(
    reviews: Iterable[Review], labels: Sequence[str], source: str = ""
) -> list[Example]:
    """Return examples of the reviews that have one of `labels`, which gets a probability of 1."""
    targets = {label: one_hot(label, labels) for label in labels}
    return [
        Example(review.text, targets[review.label], review.rating, source)
        for review in reviews
        if review.label in targets
    ]


def one_hot(label: str, labels: Sequence[str]) -> tuple[float, ...]:
    """Return a probability of 1 for `label` and 0 for the others of `labels`."""
    return tuple(float(label == other) for other in labels)


def write_examples(path: Path, examples: Iterable[Example], labels: Sequence[str]) -> None:
    """Write `examples` atomically. Their targets are in the order of `labels`."""
    with atomic(path) as file:
        for example in examples:
            content = {
                "text": example.text,
                "target": dict(zip(labels, example.target, strict=True)),
                "rating": example.rating,
                "source": example.source,
            }
            file.write(json.dumps(content) + "\n")


def read_examples(path: Path, labels: Sequence[str]) -> list[Example]:
    """Read a file of examples.

    Raises:
        DatasetError: The file cannot be read, or a line is not an example.
    """
    examples = []
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                examples.append(_parse(line, labels, where=f"{path}, line {number}"))
    except OSError as error:
        raise DatasetError(f"cannot read {path}: {error.strerror}", code="unreadable") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is not UTF-8 text", code="unreadable") from error
    return examples


def _parse(line: str, labels: Sequence[str], where: str) -> Example:
    try:
        content = json.loads(line)
        target = tuple(float(content["target"][label]) for label in labels)
        text, rating = content["text"], content.get("rating")
        source = content.get("source", "")
    except (ValueError, OverflowError, KeyError, TypeError, RecursionError) as error:
        raise DatasetError(
            f"{where}: expected a JSON object with text and target, a probability for each of "
            f"{list(labels)}",
            code="invalid-example",
        ) from error
    is_distribution = min(target) >= 0 and abs(sum(target) - 1) < 1e-3
    has_valid_types = (rating is None or type(rating) is int) and isinstance(source, str)
    if not (isinstance(text, str) and text.strip() and is_distribution and has_valid_types):
        raise DatasetError(
            f"{where}: expected a text, probabilities that sum to 1, a whole number as rating and "
            "a string as source",
            code="invalid-example",
        )
    return Example(text, target, rating, source)
