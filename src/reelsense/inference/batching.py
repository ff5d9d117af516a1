"""Which windows run together: batches by token budget, and the queue that joins callers.

Knows lengths and order. Knows neither texts nor labels, and of the network only that it takes
ids and mask.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reelsense.errors import AbandonedError, DeadlineError
from reelsense.inference.call_context import CallContext

BUCKET = 16
"""Lengths are padded to multiples of this. Few distinct shapes keep allocators and engines calm."""

_AT_ONCE = 32
"""Windows that one caller has in the queue at a time, or as many as the shortest fill a batch."""

Network = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float32]]
"""Token ids and mask (n, length) to logits (n, labels)."""

OnBatch = Callable[[int, int], None]
"""Told of a batch that ran: its windows, and their tokens without padding."""


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


class _Call:
    """The windows of one caller: those to come, and the logits of those that ran."""

    def __init__(self, windows: Sequence[Sequence[int]], context: CallContext) -> None:
        """The longest windows come first: what is left for the end then fits beside others."""
        self.windows, self.context = windows, context
        order = sorted(range(len(windows)), key=lambda n: -len(windows[n]))
        self.later = deque(_Waiting(self, n, len(windows[n])) for n in order)
        self.logits: list[NDArray[np.float32] | None] = [None] * len(windows)
        self.error: BaseException | None = None
        self.done = threading.Event()
        self.network = 0.0
        """Seconds during which at least one of the windows ran."""
        self._running, self._began = 0, 0.0

    def begins_batch(self) -> None:
        """Note that a batch with windows of this call begins."""
        if not self._running:
            self._began = time.monotonic()
        self._running += 1

    def ends_batch(self) -> None:
        """Note that such a batch has ended."""
        self._running -= 1
        if not self._running:
            self.network += time.monotonic() - self._began

    def is_done(self) -> bool:
        """Say whether all windows ran, or one of them failed."""
        return self.error is not None or all(row is not None for row in self.logits)


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    """Window number `n` of `call`, in the queue."""

    call: _Call
    n: int
    length: int


@dataclass(frozen=True, slots=True)
class _Job:
    """A batch, the network that is to run it, and the networks that are free when it has."""

    network: Network
    batch: list[_Waiting]
    taken: list[Network]


class BatchQueue:
    """Joins the windows of concurrent callers into batches for networks that run side by side.

    There is no timer: when a network comes free it takes whatever is waiting, up to a budget. At
    low load nobody waits for company; under load batches fill up by themselves. A caller has a few
    windows at a time in the queue, so that a long text does not hold up the short ones, and what is
    in the background is taken when nothing else waits. What nobody waits for any more is not run.
    """

    def __init__(
        self,
        networks: Sequence[Network],
        pad: int,
        budget: int,
        whole: Network | None = None,
        on_batch: OnBatch = lambda *_: None,
    ) -> None:
        """Run `networks` side by side, and `whole` in their place if one batch is all there is.

        `pad` is the id that fills up rows; a batch holds at most `budget` padded tokens. `on_batch`
        is told of every batch.
        """
        self._on_batch = on_batch
        self._networks, self._whole = networks, whole
        self._pad, self._budget = pad, budget
        self._at_once = max(_AT_ONCE, budget // BUCKET)
        self._free = list(networks)
        self._waiting: list[_Waiting] = []
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(len(networks), thread_name_prefix="network")

    def run(
        self, windows: Sequence[Sequence[int]], context: CallContext | None = None
    ) -> NDArray[np.float32]:
        """Return the logits (windows, labels) of `windows`, token ids each, at least one.

        Raises RuntimeError if the network failed for one of them, DeadlineError once no time is
        left on `context` and AbandonedError once nobody waits: what has not run by then never will.
        """
        if not windows:
            raise ValueError("no windows to run")
        context = context or CallContext()
        context.check()
        call = _Call(windows, context)
        try:
            with context.waiting():
                with self._lock:
                    self._queue_some(call, self._at_once)
                    self._start()
                if not call.done.wait(context.left):
                    raise context.expired()
        except BaseException:  # no time is left, or this thread is told to stop
            with self._lock:
                self._forget(call)
            raise
        context.queue -= call.network
        context.network += call.network
        if isinstance(call.error, DeadlineError | AbandonedError):
            raise call.error
        if call.error is not None:
            raise RuntimeError(f"the network failed: {call.error}") from call.error
        return np.stack([row for row in call.logits if row is not None])

    def _queue_some(self, call: _Call, count: int) -> None:
        while call.later and count:
            self._waiting.append(call.later.popleft())
            count -= 1

    def _start(self) -> None:
        """Put all free networks to work for which there is some. Call it with the lock held."""
        while job := self._next_job():
            try:
                self._threads.submit(self._work, job)
            except RuntimeError as error:  # the process ends, or can have no more threads
                for call in self._finish(job, error):
                    call.done.set()

    def _next_job(self) -> _Job | None:
        """Give waiting windows to free networks. Call it with the lock held."""
        if self._free:
            self._drop_given_up()
        if not self._waiting or not self._free:
            return None
        batch = self._take()
        if self._whole and not self._waiting and len(self._free) == len(self._networks):
            job = _Job(self._whole, batch, self._free)
            self._free = []
            return job
        network = self._free.pop()
        return _Job(network, batch, [network])

    def _work(self, job: _Job | None) -> None:
        """Run `job` and what is waiting then.

        The next job is begun before the callers of the last one wake up: only one thread at a
        time runs Python, and the network should not be the one that waits.
        """
        while job:
            result = self._run_batch(job)
            with self._lock:
                done = self._finish(job, result)
                job = self._next_job()
                self._start()
            for call in done:
                call.done.set()

    def _run_batch(self, job: _Job) -> NDArray[np.float32] | BaseException:
        try:
            rows = [each.call.windows[each.n] for each in job.batch]
            logits = job.network(*stack(rows, self._pad))
            if len(logits) != len(rows):
                raise ValueError(f"{len(logits)} rows of logits for {len(rows)} windows")
            self._on_batch(len(rows), sum(map(len, rows)))
        except BaseException as error:  # noqa: BLE001  # each caller raises it
            return error
        return logits

    def _finish(self, job: _Job, result: NDArray[np.float32] | BaseException) -> list[_Call]:
        """Hand out `result` and free the networks; return whose windows all ran.

        Call it with the lock held.
        """
        self._free += job.taken
        for call in {each.call for each in job.batch}:
            call.ends_batch()
        for n, each in enumerate(job.batch):
            if isinstance(result, BaseException):
                each.call.error = result
                self._forget(each.call)
            else:
                each.call.logits[each.n] = result[n]
        return [each.call for each in job.batch if each.call.is_done()]

    def _drop_given_up(self) -> None:
        """Let go of calls that nobody waits for. Call it with the lock held."""
        for call in {each.call for each in self._waiting}:
            if fault := call.context.fault():
                call.error = fault
                self._forget(call)
                call.done.set()

    def _take(self) -> list[_Waiting]:
        """Take the window that waited longest, and with it those nearest to it in length."""
        waiting = [
            each for each in self._waiting if not each.call.context.background
        ] or self._waiting
        oldest = waiting[0]
        near = sorted(waiting, key=lambda other: abs(other.length - oldest.length))
        batch: list[_Waiting] = []
        longest = 0
        for each in near:
            longest = max(longest, padded(each.length))
            if batch and (len(batch) + 1) * longest > self._budget:
                break
            batch.append(each)
        taken = set(batch)
        self._waiting = [each for each in self._waiting if each not in taken]
        for each in batch:
            self._queue_some(each.call, 1)
        for call in {each.call for each in batch}:
            call.begins_batch()
        return batch

    def _forget(self, call: _Call) -> None:
        call.later.clear()
        self._waiting = [each for each in self._waiting if each.call is not call]
