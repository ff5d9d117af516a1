"""Which windows run together: batches by token budget, and the queue that joins callers.

Knows lengths and order. Knows neither texts nor labels, and of the network only that it takes
ids and mask.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BUCKET = 16
"""Lengths are padded to multiples of this. Few distinct shapes keep allocators and engines calm."""

_AT_ONCE = 32
"""Windows that one caller has in the queue at a time."""

Network = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float32]]
"""Token ids and mask (n, length) to logits (n, labels)."""


def padded(length: int) -> int:
    """Return `length` rounded up to the next bucket."""
    return -(-length // BUCKET) * BUCKET


def fill(
    order: Sequence[int], lengths: Sequence[int], budget: int, most: int = sys.maxsize
) -> list[list[int]]:
    """Cut `order` (indices, sorted by length) into consecutive batches within `budget` tokens.

    None has more than `most` texts.
    """
    batches: list[list[int]] = []
    batch: list[int] = []
    for index in order:
        full = len(batch) == most or (len(batch) + 1) * padded(lengths[index]) > budget
        if batch and full:
            batches.append(batch)
            batch = []
        batch.append(index)
    return [*batches, batch] if batch else batches


def stack(rows: Sequence[Sequence[int]], pad: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return token ids and mask, both (rows, padded length); the mask is 1 where to read."""
    length = padded(max(map(len, rows)))
    ids = np.full((len(rows), length), pad, dtype=np.int64)
    mask = np.zeros((len(rows), length), dtype=np.int64)
    for n, row in enumerate(rows):
        ids[n, : len(row)] = row
        mask[n, : len(row)] = 1
    return ids, mask


@dataclass(slots=True, eq=False)
class _Waiting:
    """One window in the queue; `logits` or `error` once it ran."""

    ids: Sequence[int]
    logits: NDArray[np.float32] | None = None
    error: Exception | None = None

    @property
    def done(self) -> bool:
        return self.logits is not None or self.error is not None


class BatchQueue:
    """Joins the windows of concurrent callers into batches for one network.

    There is no thread of its own and no timer: the caller that finds the network free runs a
    batch of whatever is waiting, its own and others', until its own are done. At low load
    nobody waits for company; under load batches fill up by themselves. A caller puts a few
    windows at a time into the queue, so that a long text does not hold up the short ones.
    """

    def __init__(self, network: Network, pad: int, budget: int) -> None:
        """`pad` is the id that fills up rows; a batch holds at most `budget` padded tokens."""
        self._network, self._pad, self._budget = network, pad, budget
        self._waiting: list[_Waiting] = []
        self._free = True
        self._changed = threading.Condition()

    def run(self, windows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Return the logits (windows, labels) of `windows`, token ids each, at least one."""
        mine = [_Waiting(ids) for ids in windows]
        ordered = sorted(mine, key=lambda window: len(window.ids))
        for start in range(0, len(ordered), _AT_ONCE):
            self._run_all(ordered[start : start + _AT_ONCE])
        return np.stack([window.logits for window in mine if window.logits is not None])

    def _run_all(self, mine: list[_Waiting]) -> None:
        """Return when all of `mine` are done. Raises the error of the first that failed."""
        with self._changed:
            self._waiting += mine
        try:
            while not all(window.done for window in mine):
                self._run_batch_or_wait(mine)
        except BaseException:
            self._forget(mine)
            raise
        for window in mine:
            if window.error is not None:
                raise window.error

    def _run_batch_or_wait(self, mine: list[_Waiting]) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._free or all(window.done for window in mine))
            if all(window.done for window in mine):
                return
            # The network is free, so what is not done is on no batch's way: it is waiting.
            batch, self._free = self._take(), False
        try:
            self._run_batch(batch)
        finally:
            with self._changed:
                self._free = True
                self._changed.notify_all()

    def _run_batch(self, batch: list[_Waiting]) -> None:
        try:
            logits = self._network(*stack([window.ids for window in batch], self._pad))
        except Exception as error:  # noqa: BLE001  # each caller raises the error of its own windows
            for window in batch:
                window.error = error
        except BaseException:  # this thread is told to stop: the others' windows wait again
            with self._changed:
                self._waiting = batch + self._waiting
            raise
        else:
            for window, row in zip(batch, logits, strict=True):
                window.logits = row

    def _take(self) -> list[_Waiting]:
        """Take the window that waited longest, and with it those nearest to it in length."""
        oldest = self._waiting[0]
        near = sorted(self._waiting, key=lambda other: abs(len(other.ids) - len(oldest.ids)))
        batch: list[_Waiting] = []
        longest = 0
        for window in near:
            longest = max(longest, padded(len(window.ids)))
            if batch and (len(batch) + 1) * longest > self._budget:
                break
            batch.append(window)
        self._forget(batch)
        return batch

    def _forget(self, windows: list[_Waiting]) -> None:
        with self._changed:
            gone = set(map(id, windows))
            self._waiting = [window for window in self._waiting if id(window) not in gone]
