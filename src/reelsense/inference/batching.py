"""Combine windows into batches: by token budget, and from concurrent callers by a queue.

Does not know texts or labels. A network is a function of token ids and a mask.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from reelsense.errors import AbandonedError, DeadlineError
from reelsense.inference.call_context import CallContext

BUCKET = 16  # lengths are padded to multiples: engines prepare code and memory for every shape

_MAX_QUEUED = 32  # windows of one caller in the queue at a time, or more if they fit into a batch

# Token ids and mask (n, length) to logits (n, labels).
Network = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float32]]

# Called after a batch with its number of windows and of their tokens without padding.
OnBatch = Callable[[int, int], None]


def padded(length: int) -> int:
    """Return `length` rounded up to a multiple of BUCKET."""
    return -(-length // BUCKET) * BUCKET


def fill(
    order: Sequence[int], lengths: Sequence[int], budget: int, max_texts: int = sys.maxsize
) -> list[list[int]]:
    """Divide `order` into consecutive batches of at most `budget` padded tokens.

    `order` has indices into `lengths` (tokens per text), in ascending order of length. A text that
    exceeds the budget gets its own batch.
    """
    batches: list[list[int]] = []
    batch: list[int] = []
    for index in order:
        full = len(batch) == max_texts or (len(batch) + 1) * padded(lengths[index]) > budget
        if batch and full:
            batches.append(batch)
            batch = []
        batch.append(index)
    return [*batches, batch] if batch else batches


def stack(rows: Sequence[Sequence[int]], pad: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return token ids and mask, both (rows, padded length); the mask is 1 for tokens."""
    length = padded(max(map(len, rows)))
    ids = np.full((len(rows), length), pad, dtype=np.int64)
    mask = np.zeros((len(rows), length), dtype=np.int64)
    for n, row in enumerate(rows):
        ids[n, : len(row)] = row
        mask[n, : len(row)] = 1
    return ids, mask


class _Call:
    """The windows of one caller: those not yet queued, and the logits of those that were run."""

    def __init__(self, windows: Sequence[Sequence[int]], context: CallContext) -> None:
        self.windows, self.context = windows, context
        # The longest first: the short ones at the end then fit into the batches of other callers.
        order = sorted(range(len(windows)), key=lambda n: -len(windows[n]))
        self.later = deque(_QueuedWindow(self, n, len(windows[n])) for n in order)
        self.logits: list[NDArray[np.float32] | None] = [None] * len(windows)
        self.error: BaseException | None = None
        self.done = threading.Event()
        self.network = 0.0  # seconds during which at least one of the windows ran
        self._running, self._began = 0, 0.0

    def begin_batch(self) -> None:
        if not self._running:
            self._began = time.monotonic()
        self._running += 1

    def end_batch(self) -> None:
        self._running -= 1
        if not self._running:
            self.network += time.monotonic() - self._began

    def is_finished(self) -> bool:
        return self.error is not None or all(row is not None for row in self.logits)


@dataclass(frozen=True, slots=True, eq=False)
class _QueuedWindow:
    """Window number `n` of `call`."""

    call: _Call
    n: int
    length: int


@dataclass(frozen=True, slots=True)
class _Batch:
    """Windows, the network that runs them, and what this makes unavailable."""

    network: Network
    windows: list[_QueuedWindow]
    occupied: Sequence[Network]
    cores: int


class Cores:
    """The processor cores that the queues of several networks share.

    A batch occupies one of them, or all. Queues that wait take turns.
    """

    def __init__(self, count: int) -> None:
        self.count = self.free = count
        self.lock = threading.Lock()  # of the queues
        self.queues: WeakSet[BatchQueue] = WeakSet()


class BatchQueue:
    """Combines the windows of concurrent callers into batches for networks that run in parallel.

    A network that becomes free takes the waiting windows, up to a token budget. Without a timer,
    nothing waits for a batch to fill up under low load, and batches are full under high load. A
    caller has only a few windows in the queue at a time, so that a long text does not delay short
    ones. Background calls run when no other call waits. Work whose caller timed out or
    disconnected is dropped.
    """

    def __init__(
        self,
        networks: Sequence[Network],
        pad: int,
        budget: int,
        latency_network: Network | None = None,
        on_batch: OnBatch = lambda *_: None,
        cores: Cores | None = None,
    ) -> None:
        """Create the queue.

        The `networks` run one batch of at most `budget` padded tokens each. `latency_network` uses
        the cores of all of them, and runs a batch when no other is running. `pad` is the id of
        padding. Queues with the same `cores` share them.
        """
        self._on_batch = on_batch
        self._networks, self._latency_network = networks, latency_network
        self._pad, self._budget = pad, budget
        self._max_queued = max(_MAX_QUEUED, budget // BUCKET)
        self._free = list(networks)
        self._waiting: list[_QueuedWindow] = []
        self._cores = cores or Cores(len(networks))
        self._cores.queues.add(self)
        self._lock = self._cores.lock
        self._threads = ThreadPoolExecutor(len(networks), thread_name_prefix="network")

    def run(
        self, windows: Sequence[Sequence[int]], context: CallContext | None = None
    ) -> NDArray[np.float32]:
        """Run windows (token ids) and return their logits (windows, labels).

        Updates the `queue` and `network` times of `context`. Raises DeadlineError, AbandonedError,
        or RuntimeError if the network failed.
        """
        if not windows:
            raise ValueError("no windows to run")
        context = context or CallContext()
        context.check()
        call = _Call(windows, context)
        try:
            with context.waiting():
                with self._lock:
                    self._enqueue(call, self._max_queued)
                    self._start()
                if not call.done.wait(context.remaining):
                    raise context.deadline_error()
        except BaseException:  # the deadline, or an interrupt of this thread
            with self._lock:
                self._drop(call)
            raise
        context.queue -= call.network
        context.network += call.network
        if isinstance(call.error, DeadlineError | AbandonedError):
            raise call.error
        if call.error is not None:
            raise RuntimeError(f"the network failed: {call.error}") from call.error
        return np.stack([row for row in call.logits if row is not None])

    # The lock must be held when a method below is called, except for _work and _run_batch.

    def _enqueue(self, call: _Call, count: int) -> None:
        while call.later and count:
            self._waiting.append(call.later.popleft())
            count -= 1

    def _start(self) -> None:
        """Start free networks as long as windows wait."""
        while batch := self._next_batch():
            try:
                self._threads.submit(self._work, batch)
            except RuntimeError as error:  # the process ends or cannot start more threads
                for call in self._finish(batch, error):
                    call.done.set()

    def _next_batch(self) -> _Batch | None:
        cores = self._cores
        if self._free and cores.free:
            self._drop_cancelled()
        if not self._waiting or not self._free or not cores.free:
            return None
        windows = self._take_windows()
        if self._latency_network and not self._waiting and cores.free == cores.count:
            occupied, self._free = self._free, []
            batch = _Batch(self._latency_network, windows, occupied, cores.count)
        else:
            network = self._free.pop()
            batch = _Batch(network, windows, [network], cores=1)
        cores.free -= batch.cores
        return batch

    def _work(self, batch: _Batch | None) -> None:
        """Run `batch` and whatever waits afterwards.

        The next batch is taken before the callers of the last one wake up: only one thread at a
        time runs Python, and the network should not have to wait for it.
        """
        while batch:
            result = self._run_batch(batch)
            with self._lock:
                finished = self._finish(batch, result)
                for queue in self._cores.queues:
                    if queue is not self:
                        queue._start()  # its turn
                batch = self._next_batch()
                self._start()
            for call in finished:
                call.done.set()

    def _run_batch(self, batch: _Batch) -> NDArray[np.float32] | BaseException:
        try:
            rows = [window.call.windows[window.n] for window in batch.windows]
            logits = batch.network(*stack(rows, self._pad))
            if len(logits) != len(rows):
                raise ValueError(f"{len(logits)} rows of logits for {len(rows)} windows")
            self._on_batch(len(rows), sum(map(len, rows)))
        except BaseException as error:  # noqa: BLE001  # each caller raises it
            return error
        return logits

    def _finish(self, batch: _Batch, result: NDArray[np.float32] | BaseException) -> list[_Call]:
        """Distribute the result, free the networks, and return the calls that are finished."""
        self._free += batch.occupied
        self._cores.free += batch.cores
        for call in {window.call for window in batch.windows}:
            call.end_batch()
        for n, window in enumerate(batch.windows):
            if isinstance(result, BaseException):
                window.call.error = result
                self._drop(window.call)
            else:
                window.call.logits[window.n] = result[n]
        return [window.call for window in batch.windows if window.call.is_finished()]

    def _drop_cancelled(self) -> None:
        for call in {window.call for window in self._waiting}:
            if error := call.context.error():
                call.error = error
                self._drop(call)
                call.done.set()

    def _take_windows(self) -> list[_QueuedWindow]:
        """Take the window that has waited longest, and those nearest to it in length."""
        foreground = [window for window in self._waiting if not window.call.context.background]
        candidates = foreground or self._waiting
        oldest = candidates[0]
        windows: list[_QueuedWindow] = []
        longest = 0
        for window in sorted(candidates, key=lambda other: abs(other.length - oldest.length)):
            longest = max(longest, padded(window.length))
            if windows and (len(windows) + 1) * longest > self._budget:
                break
            windows.append(window)
        taken = set(windows)
        self._waiting = [window for window in self._waiting if window not in taken]
        for window in windows:
            self._enqueue(window.call, 1)
        for call in {window.call for window in windows}:
            call.begin_batch()
        return windows

    def _drop(self, call: _Call) -> None:
        call.later.clear()
        self._waiting = [window for window in self._waiting if window.call is not call]
