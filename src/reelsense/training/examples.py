"""Training examples, their tokens, and batches of them by token budget.

A file of examples contains a JSON object per line:
{"text": "...", "target": {"negative": 0.1, "positive": 0.9}, "rating": 8, "source": "SST-2"}.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from reelsense.datasets.reviews import Review
from reelsense.errors import DatasetError
from reelsense.files import read_text
from reelsense.inference.batching import fill
from reelsense.inference.tokenizer import ReviewTokenizer
from reelsense.training.processes import Processes
from reelsense.training.recipe import Stage

_POOL = 64
"""Texts are sorted by length within pools of about this many batches."""

_TOKENIZED_AT_ONCE = 1000  # texts between two updates of the progress bar


@dataclass(frozen=True, slots=True)
class Example:
    """One training text and its targets."""

    text: str
    target: tuple[float, ...]  # the probability that each label should get; they sum to 1
    rating: int | None = None  # stars
    source: str = ""  # name of the data set that the text comes from; "" if unknown
    teacher: tuple[float, ...] = ()  # teacher logits over labels and ratings; () without a teacher
    # The texts that a teacher scores in place of `text`; their logits are averaged.
    teacher_texts: tuple[str, ...] = ()

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


def read_examples(path: Path, labels: Sequence[str]) -> list[Example]:
    """Read a file of examples. Raises DatasetError if a line is not an example."""
    lines = StringIO(read_text(path, DatasetError))  # unlike splitlines(): lines end with \n only
    return [
        _parse(line, labels, where=f"{path}, line {number}")
        for number, line in enumerate(lines, start=1)
    ]


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


def tokenize(
    texts: Sequence[str], tokenizer: ReviewTokenizer, processes: Processes
) -> list[list[int]]:
    """Return the token ids of `texts`, without special tokens; repeated texts share their list."""
    distinct = list(dict.fromkeys(texts))
    ids: list[list[int]] = []
    with processes.progress_bar(total=len(distinct), desc="tokenizing", unit=" texts") as bar:
        for start in range(0, len(distinct), _TOKENIZED_AT_ONCE):
            ids += tokenizer.encode(distinct[start : start + _TOKENIZED_AT_ONCE])
            bar.update(len(ids) - bar.n)
    ids_of = dict(zip(distinct, ids, strict=True))
    return [ids_of[text] for text in texts]


def plan_epoch(lengths: Sequence[int], stage: Stage, epoch: int) -> list[list[int]]:
    """Return the batches of an epoch in random order, as indices into `lengths` (tokens of texts).

    The result depends on the arguments alone, so that a resumed run sees the same batches.
    """
    shuffler = random.Random(f"{stage.seed}-{epoch}")
    order = list(range(len(lengths)))
    shuffler.shuffle(order)
    mean = max(1, sum(lengths) // max(1, len(lengths)))
    pool = max(1, _POOL * stage.tokens_per_batch // mean)
    batches: list[list[int]] = []
    for start in range(0, len(order), pool):
        by_length = sorted(order[start : start + pool], key=lambda index: lengths[index])
        batches += fill(by_length, lengths, stage.tokens_per_batch, stage.texts_per_batch)
    shuffler.shuffle(batches)
    return batches
