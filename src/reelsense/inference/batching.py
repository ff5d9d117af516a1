"""Which windows run together: batches by token budget, and the queue that joins callers.

Knows lengths and order. Knows neither texts nor labels, and of the network only that it takes
ids and mask.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BUCKET = 16
"""Lengths are padded to multiples of this. Few distinct shapes keep allocators and engines calm."""

Network = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float32]]
"""Token ids and mask (n, length) to logits (n, labels)."""


def padded(length: int) -> int:
    """Return `length` rounded up to the next bucket."""
    return -(-length // BUCKET) * BUCKET


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

    There is no thread of its own and no timer: the caller that finds the network free runs
    batches of whatever is waiting, its own and others', until its own are done. At low load
    nobody waits for company; under load batches fill up by themselves.
    """

    def __init__(self, network: Network, pad: int, budget: int) -> None:
        """`pad` is the id that fills up rows; a batch holds at most `budget` padded tokens."""
        self._network, self._pad, self._budget = network, pad, budget
        self._waiting: list[_Waiting] = []
        self._changing = threading.Lock()
        self._running = threading.Lock()

    def run(self, windows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Return the logits (windows, labels) of `windows`, token ids each, at least one."""
        mine = [_Waiting(ids) for ids in windows]
        with self._changing:
            self._waiting += sorted(mine, key=lambda window: len(window.ids))
        try:
            self._run_until_done(mine)
        except BaseException:
            self._forget(mine)
            raise
        for window in mine:
            if window.error is not None:
                raise window.error
        return np.stack([window.logits for window in mine if window.logits is not None])

    def _run_until_done(self, mine: list[_Waiting]) -> None:
        for window in mine:
            while not window.done:
                with self._running:
                    # Whoever holds the lock finds no batch on its way: what is not done, waits.
                    if not window.done:
                        self._run_batch()

    def _forget(self, windows: list[_Waiting]) -> None:
        with self._changing:
            gone = set(map(id, windows))
            self._waiting = [window for window in self._waiting if id(window) not in gone]

    def _run_batch(self) -> None:
        batch = self._take()
        try:
            logits = self._network(*stack([window.ids for window in batch], self._pad))
        except Exception as error:  # noqa: BLE001  # each caller raises the error of its own windows
            for window in batch:
                window.error = error
        except BaseException:  # this thread is told to stop: the others' windows wait again
            with self._changing:
                self._waiting = batch + self._waiting
            raise
        else:
            for window, row in zip(batch, logits, strict=True):
                window.logits = row

    def _take(self) -> list[_Waiting]:
        """Take the window that waited longest, and with it those nearest to it in length."""
        with self._changing:
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
