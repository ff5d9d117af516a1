"""Labelled reviews, and splits that keep the reviews of a film or of another group together.

Knows no file formats: `imdb` and `labelled` read files.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from reelsense.text.clean import clean

VALIDATION_SHARE = 0.1
MAX_VALIDATION = 2500  # rows: their accuracy has a 95 % interval of about 2 points
MIN_PER_LABEL = 30  # validation rows, for labels with three times as many rows or more


@dataclass(frozen=True, slots=True)
class Review:
    """One review."""

    name: str  # where it comes from, such as a file and line
    text: str
    label: str | None  # None in the unlabelled part
    rating: int | None  # stars, 1 to 10, where known
    group: str  # its subject, such as a film's title id; `split_validation` does not split groups


@dataclass(frozen=True, slots=True)
class Split:
    """`train` for training; `validation` to choose epochs, windows and thresholds."""

    train: list[Review]
    validation: list[Review]


def split_validation(reviews: Sequence[Review], share: float = VALIDATION_SHARE) -> Split:
    """Hold out about `share` of `reviews` by group: no group is in both parts.

    The choice depends on the group names alone (by their SHA-256), so it is the same on every
    machine and for every order of `reviews`. In IMDb's training part 97 % of the reviews share
    their film with another one: a split by review would let a model recognise the film.
    """
    sizes = Counter(review.group for review in reviews)
    target = round(share * len(reviews))
    held_out: set[str] = set()
    count = 0
    for group in sorted(sizes, key=_digest):
        if count >= target:
            break
        held_out.add(group)
        count += sizes[group]
    return _split(reviews, held_out)


def split_stratified(reviews: Sequence[Review], share: float | None = None) -> Split:
    """Hold out `share` of the rows of every label by group: no group is in both parts.

    Like `split_validation`, it depends on groups and labels alone. At least half of the rows of
    every label stay in the training set. A part of a group is never held out, so groups with
    several rows can add some to the share.

    Args:
        reviews: With labels.
        share: Of each label, at most 0.5; at least one row of a label with two or more. None:
            `VALIDATION_SHARE`, but at least `MIN_PER_LABEL` rows (a third of a rare label), and at
            most `MAX_VALIDATION` in total.
    """
    sizes = Counter(review.label for review in reviews)
    quotas = {label: _quota(size, len(reviews), len(sizes), share) for label, size in sizes.items()}
    groups: dict[str, Counter[str | None]] = {}
    for review in reviews:
        groups.setdefault(review.group, Counter())[review.label] += 1
    held_out: set[str] = set()
    counts: Counter[str | None] = Counter()
    for group in sorted(groups, key=_digest):
        labels = groups[group]
        needed = any(counts[label] < quotas[label] for label in labels)
        if needed and all(
            2 * (counts[name] + size) <= sizes[name] for name, size in labels.items()
        ):
            held_out.add(group)
            counts += labels
    return _split(reviews, held_out)


def _quota(size: int, total: int, labels: int, share: float | None) -> int:
    """Return how many of the `size` rows of a label are held out."""
    if share is not None:
        return max(1, round(share * size))
    proportional = round(size * min(VALIDATION_SHARE, MAX_VALIDATION / total))
    return max(1, proportional, min(MIN_PER_LABEL, size // 3, MAX_VALIDATION // labels))


def _split(reviews: Sequence[Review], held_out: set[str]) -> Split:
    return Split(
        train=[review for review in reviews if review.group not in held_out],
        validation=[review for review in reviews if review.group in held_out],
    )


def text_key(text: str) -> str:
    """Return `text` without differences in case, spaces and markup: equal for duplicates."""
    return " ".join(clean(text).casefold().split())


def labels_of(reviews: Iterable[Review]) -> list[str]:
    """Return the distinct labels, sorted."""
    return sorted({review.label for review in reviews if review.label is not None})


def _digest(group: str) -> bytes:
    return hashlib.sha256(group.encode(errors="surrogatepass")).digest()
