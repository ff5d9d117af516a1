"""Which reviews go into which batch: by token budget, from length buckets, with little padding.

Knows lengths and token ids; no labels, no model.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import Tensor

BUCKET = 16
"""Lengths are padded to multiples of this. Few distinct shapes keep the allocator quiet."""

_POOL = 64
"""Reviews are sorted by length within pools of about this many batches, then shuffled again."""


def padded(length: int) -> int:
    """Return `length` rounded up to the next bucket."""
    return -(-length // BUCKET) * BUCKET


def plan_epoch(lengths: Sequence[int], budget: int, seed: int, epoch: int) -> list[list[int]]:
    """Return batches of indices into `lengths`, each index once, in random order.

    A batch's size times its padded length stays within `budget` tokens (one item at least). The
    plan depends on the arguments alone, so a resumed run sees the same batches.
    """
    shuffler = random.Random(f"{seed}-{epoch}")
    order = list(range(len(lengths)))
    shuffler.shuffle(order)
    mean = max(1, sum(lengths) // max(1, len(lengths)))
    pool = max(1, _POOL * budget // mean)
    batches: list[list[int]] = []
    for start in range(0, len(order), pool):
        members = sorted(order[start : start + pool], key=lambda index: lengths[index])
        batches += fill(members, lengths, budget)
    shuffler.shuffle(batches)
    return batches


def fill(order: Sequence[int], lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Cut `order` (indices, sorted by length) into consecutive batches within `budget` tokens."""
    batches: list[list[int]] = []
    batch: list[int] = []
    for index in order:
        if batch and (len(batch) + 1) * padded(lengths[index]) > budget:
            batches.append(batch)
            batch = []
        batch.append(index)
    return [*batches, batch] if batch else batches


def stack(rows: Sequence[Sequence[int]], pad: int) -> tuple[Tensor, Tensor]:
    """Return token ids and mask, both (rows, padded length) int64; the mask is 1 where read."""
    length = padded(max(map(len, rows)))
    ids = torch.full((len(rows), length), pad)
    mask = torch.zeros(len(rows), length, dtype=torch.int64)
    for n, row in enumerate(rows):
        ids[n, : len(row)] = torch.tensor(row)
        mask[n, : len(row)] = 1
    return ids, mask
