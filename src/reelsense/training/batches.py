"""Which reviews go into which batch: by token budget, from length buckets, with little padding.

Knows lengths and token ids; no labels, no model.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from reelsense.inference.batching import fill


@dataclass(frozen=True, slots=True)
class Encoded:
    """Texts (n) as whole token ids without [CLS] and [SEP], and what is to be learned of them."""

    ids: list[list[int]]
    targets: list[tuple[float, ...]]
    """The probability of every label."""
    ratings: list[int | None]
    teachers: list[tuple[float, ...]]
    """Logits of the teacher over labels and ratings; empty for texts without any."""


_POOL = 64
"""Reviews are sorted by length within pools of about this many batches, then shuffled again."""


def plan_epoch(
    lengths: Sequence[int], budget: int, seed: int, epoch: int, most: int = sys.maxsize
) -> list[list[int]]:
    """Return batches of indices into `lengths`, each index once, in random order.

    A batch's size times its padded length stays within `budget` tokens (one item at least), and
    its size within `most`. The plan depends on the arguments alone, so a resumed run sees the same
    batches.
    """
    shuffler = random.Random(f"{seed}-{epoch}")
    order = list(range(len(lengths)))
    shuffler.shuffle(order)
    mean = max(1, sum(lengths) // max(1, len(lengths)))
    pool = max(1, _POOL * budget // mean)
    batches: list[list[int]] = []
    for start in range(0, len(order), pool):
        members = sorted(order[start : start + pool], key=lambda index: lengths[index])
        batches += fill(members, lengths, budget, most)
    shuffler.shuffle(batches)
    return batches
