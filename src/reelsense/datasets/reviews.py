"""Labelled reviews, and the split that keeps the reviews of a film together.

Knows no file formats: `imdb` and `labelled` read files.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


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


def split_validation(reviews: Sequence[Review], share: float = 0.1) -> Split:
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
    return Split(
        train=[review for review in reviews if review.group not in held_out],
        validation=[review for review in reviews if review.group in held_out],
    )


def labels_of(reviews: Iterable[Review]) -> list[str]:
    """Return the distinct labels, sorted."""
    return sorted({review.label for review in reviews if review.label is not None})


def _digest(group: str) -> bytes:
    return hashlib.sha256(group.encode(errors="surrogatepass")).digest()
