"""What a model learns from: texts with the probability of each label, hard or soft, and stars.

Labelled reviews, edited reviews and single sentences, and what a teacher has labelled all become
`Example`s; the loop knows nothing else. A file of them has a JSON object a line:
{"text": "...", "target": {"negative": 0.1, "positive": 0.9}, "rating": 8, "source": "SST-2"}.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from reelsense.datasets.reviews import Review
from reelsense.errors import DatasetError
from reelsense.files import atomic


@dataclass(frozen=True, slots=True)
class Example:
    """One text to learn from."""

    text: str
    target: tuple[float, ...]
    """The probability that each label should get; they sum to 1."""
    rating: int | None = None
    """Stars, where known."""
    source: str = ""
    """Where it comes from, for people; "" if that is not told."""


def hard_examples(
    reviews: Iterable[Review], labels: Sequence[str], source: str = ""
) -> list[Example]:
    """Return those of `reviews` that carry one of `labels`, which gets all of the probability."""
    targets = {label: tuple(float(label == each) for each in labels) for label in labels}
    return [
        Example(review.text, targets[review.label], review.rating, source)
        for review in reviews
        if review.label in targets
    ]


def write_examples(path: Path, examples: Iterable[Example], labels: Sequence[str]) -> None:
    """Write `examples`, whose targets are in the order of `labels`, whole or not at all."""
    with atomic(path) as file:
        for each in examples:
            target = dict(zip(labels, each.target, strict=True))
            file.write(json.dumps(asdict(each) | {"target": target}) + "\n")


def read_examples(path: Path, labels: Sequence[str]) -> list[Example]:
    """Read a file of examples. Raises DatasetError naming file and line of what is wrong."""
    examples = []
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                examples.append(_parse(line, labels, where=f"{path}, line {number}"))
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is not UTF-8 text") from error
    return examples


def _parse(line: str, labels: Sequence[str], where: str) -> Example:
    try:
        content = json.loads(line)
        target = tuple(float(content["target"][label]) for label in labels)
        text, rating = content["text"], content.get("rating")
        source = content.get("source", "")
    except (ValueError, OverflowError, KeyError, TypeError, RecursionError) as error:
        raise DatasetError(f"{where}: not an example with the labels {list(labels)}") from error
    fitting = min(target) >= 0 and abs(sum(target) - 1) < 1e-3
    known = (rating is None or type(rating) is int) and isinstance(source, str)
    if not (isinstance(text, str) and text.strip() and fitting and known):
        raise DatasetError(
            f"{where}: a text and probabilities that sum to 1 are needed; a rating is a whole "
            "number, a source a text"
        )
    return Example(text, target, rating, source)
