"""Checks of labelled data before training: label counts, duplicates, contradictions, overlap."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from reelsense.datasets.reviews import Review, Split, text_key

_LISTED = 12  # labels in a line
_EXAMPLES = 3


def describe_data(reviews: Sequence[Review], split: Split) -> list[str]:
    """Return lines about labelled `reviews` and how they are split; problems only if they exist."""
    counts = Counter(review.label or "" for review in reviews)
    lines = [
        f"{len(reviews):,} rows: {_listed(counts)}",
        f"{len(split.train):,} rows for training, {len(split.validation):,} for validation",
    ]
    held_out = {review.label for review in split.validation}
    if missing := sorted(label for label in counts if label not in held_out):
        lines.append(f"labels without a validation row: {', '.join(missing[:_LISTED])}")
    return [*lines, *_duplicates(reviews), *_overlap(reviews, split)]


def _listed(counts: Counter[str]) -> str:
    listed = ", ".join(f"{label} {count:,}" for label, count in counts.most_common(_LISTED))
    more = len(counts) - _LISTED
    return f"{listed} and {more:,} more labels" if more > 0 else listed


def _duplicates(reviews: Sequence[Review]) -> Iterator[str]:
    copies: dict[str, list[Review]] = {}
    for review in reviews:
        copies.setdefault(text_key(review.text), []).append(review)
    if repeated := len(reviews) - len(copies):
        yield f"{repeated:,} rows repeat the text of an earlier row"
    contradictory = [rows for rows in copies.values() if len({row.label for row in rows}) > 1]
    if contradictory:
        examples = "; ".join(
            ", ".join(f"{row.name} {row.label}" for row in rows[:_EXAMPLES])
            for rows in contradictory[:_EXAMPLES]
        )
        yield f"{len(contradictory):,} texts have different labels: {examples}"


def _overlap(reviews: Sequence[Review], split: Split) -> Iterator[str]:
    if omitted := len(reviews) - len(split.train) - len(split.validation):
        yield f"{omitted:,} rows are not trained on: their texts are in the validation set"
    training = {text_key(review.text) for review in split.train}
    if both := sum(text_key(review.text) in training for review in split.validation):
        yield f"{both:,} validation rows have a text that is in the training set too"
