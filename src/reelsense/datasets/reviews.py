"""A labelled review, and the split that keeps a film's reviews together.

Knows no file format: `imdb` and `tables` read files into these.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Review:
    """One review. `label` is None in the unlabelled part, `rating` (stars, 1-10) where unknown.

    `group` names what the review is about (a film's title id); reviews of one group are never
    parted by `split_validation`. `name` says where the review came from.
    """

    name: str
    text: str
    label: str | None
    rating: int | None
    group: str


@dataclass(frozen=True, slots=True)
class Split:
    """`train` to learn from; `validation` to choose epochs, windows and thresholds on."""

    train: list[Review]
    validation: list[Review]


def split_validation(reviews: Sequence[Review], share: float = 0.1) -> Split:
    """Hold out about `share` of `reviews` by group: no group stands in both parts.

    The choice depends on the group names alone (their SHA-256 order), so it is the same on every
    machine and whatever the order of `reviews`. In IMDb's train part 97 % of the reviews share
    their film with another one; a split review by review would let a model recognise the film.
    """
    sizes: dict[str, int] = defaultdict(int)
    for review in reviews:
        sizes[review.group] += 1
    wanted = round(share * len(reviews))
    held: set[str] = set()
    count = 0
    for group in sorted(sizes, key=_digest):
        if count >= wanted:
            break
        held.add(group)
        count += sizes[group]
    return Split(
        train=[review for review in reviews if review.group not in held],
        validation=[review for review in reviews if review.group in held],
    )


def labels_of(reviews: Iterable[Review]) -> list[str]:
    """Return the distinct labels, sorted."""
    return sorted({review.label for review in reviews if review.label is not None})


def _digest(group: str) -> bytes:
    return hashlib.sha256(group.encode(errors="surrogatepass")).digest()
