"""Tokenized texts, and batches of them by token budget with little padding.

Knows token ids and lengths; no model.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from reelsense.inference.batching import fill
from reelsense.inference.tokenizer import ReviewTokenizer
from reelsense.training.distributed import Processes

_POOL = 64
"""Texts are sorted by length within pools of about this many batches."""

_TOKENIZED_AT_ONCE = 1000
"""Texts between two updates of the progress bar."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """Tokenized texts (n) and their targets."""

    ids: list[list[int]]
    """Token ids of the whole texts, without special tokens."""
    targets: list[tuple[float, ...]]
    """The probability of every label."""
    ratings: list[int | None]
    teachers: list[tuple[float, ...]]
    """Teacher logits over labels and ratings; empty for texts without any."""


def tokenize(
    texts: Sequence[str], tokenizer: ReviewTokenizer, processes: Processes
) -> list[list[int]]:
    """Return the token ids of `texts`, without special tokens, under a progress bar.

    Repeated texts are tokenized once and share their list.
    """
    distinct = list(dict.fromkeys(texts))
    ids: list[list[int]] = []
    with processes.progress_bar(total=len(distinct), desc="tokenizing", unit=" texts") as bar:
        for start in range(0, len(distinct), _TOKENIZED_AT_ONCE):
            ids += tokenizer.encode(distinct[start : start + _TOKENIZED_AT_ONCE])
            bar.update(len(ids) - bar.n)
    ids_of = dict(zip(distinct, ids, strict=True))
    return [ids_of[text] for text in texts]


def plan_epoch(
    lengths: Sequence[int], budget: int, seed: int, epoch: int, max_texts: int = sys.maxsize
) -> list[list[int]]:
    """Return the batches of an epoch in random order.

    The result depends on the arguments alone, so that a resumed run sees the same batches.

    Args:
        lengths: Tokens of each text.
        budget: Limit of a batch's size times its longest text, in tokens. One text always fits.
        seed: Seed of the run.
        epoch: Number of the epoch, from 0.
        max_texts: Limit of a batch's size.

    Returns:
        Batches of indices into `lengths`; each index is in one batch.
    """
    shuffler = random.Random(f"{seed}-{epoch}")
    order = list(range(len(lengths)))
    shuffler.shuffle(order)
    mean = max(1, sum(lengths) // max(1, len(lengths)))
    pool = max(1, _POOL * budget // mean)
    batches: list[list[int]] = []
    for start in range(0, len(order), pool):
        by_length = sorted(order[start : start + pool], key=lambda index: lengths[index])
        batches += fill(by_length, lengths, budget, max_texts)
    shuffler.shuffle(batches)
    return batches
