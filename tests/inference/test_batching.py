import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from reelsense.inference import batching
from reelsense.inference.batching import BUCKET, BatchQueue, Cores, _Call, fill, padded, stack
from reelsense.inference.call_context import CallContext
from tests.inference.gate import Gate
from tests.waiting import wait_until

Ids = NDArray[np.int64]
Windows = st.lists(st.lists(st.integers(1, 50), min_size=1, max_size=60), min_size=1, max_size=40)


def total(ids: Ids, mask: Ids) -> NDArray[np.float32]:
    """A network whose logits are the sum and the number of the ids that are not masked."""
    return np.stack([(ids * mask).sum(1), mask.sum(1)], axis=1).astype(np.float32)


class Counting:
    """Computes `total` and records the shapes of its inputs."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, ids: Ids, mask: Ids) -> NDArray[np.float32]:
        self.shapes.append(ids.shape)
        return total(ids, mask)


def test_stack_pads_to_the_bucket_and_masks_the_padding() -> None:
    ids, mask = stack([[5, 6, 7], [8]], pad=9)
    assert ids.shape == mask.shape == (2, BUCKET)
    assert ids[1, :3].tolist() == [8, 9, 9]
    assert mask.sum(1).tolist() == [3, 1]


@given(st.lists(st.integers(1, 400), max_size=80), st.integers(16, 1000))
def test_fill_keeps_order_and_budget(lengths: list[int], budget: int) -> None:
    order = sorted(range(len(lengths)), key=lambda n: lengths[n])
    batches = fill(order, lengths, budget)
    assert [n for batch in batches for n in batch] == order
    for batch in batches:
        assert len(batch) == 1 or len(batch) * padded(max(lengths[n] for n in batch)) <= budget


@given(Windows, st.integers(16, 500))
def test_queue_returns_logits_of_each_window_within_budget(
    windows: list[list[int]], budget: int
) -> None:
    network = Counting()
    logits = BatchQueue([network], pad=0, budget=budget).run(windows)
    assert logits.tolist() == [[sum(ids), len(ids)] for ids in windows]
    assert all(rows == 1 or rows * length <= budget for rows, length in network.shapes)


def test_concurrent_calls_share_a_batch() -> None:
    gate, counting = Gate(), Counting()

    def network(ids: Ids, mask: Ids) -> NDArray[np.float32]:
        gate(ids, mask)
        return counting(ids, mask)

    queue = BatchQueue([network], pad=0, budget=160)
    with ThreadPoolExecutor(11) as pool:
        first = pool.submit(queue.run, [[1]])
        wait_until(lambda: gate.seen)
        others = [pool.submit(queue.run, [[n]]) for n in range(2, 12)]
        wait_until(lambda: len(queue._waiting) == 10)
        gate.open.set()
        assert first.result(10)[0, 0] == 1
        assert [other.result(10)[0, 0] for other in others] == list(range(2, 12))
    assert counting.shapes == [(1, 16), (10, 16)]


def test_network_error_reaches_only_its_caller() -> None:
    def network(ids: Ids, mask: Ids) -> NDArray[np.float32]:
        if 13 in ids:
            raise RuntimeError("unlucky")
        return total(ids, mask)

    queue = BatchQueue([network], pad=0, budget=16)
    with ThreadPoolExecutor(8) as pool:
        results = [pool.submit(queue.run, [[n], [n]]) for n in range(30)]
        for n, result in enumerate(results):
            if n == 13:
                with pytest.raises(RuntimeError, match="unlucky"):
                    result.result(10)
            else:
                assert result.result(10)[:, 0].tolist() == [n, n]
    assert queue._waiting == []


class Stopped(_Call):
    """A call that is interrupted while it waits."""

    def __init__(self, windows: list[list[int]], context: CallContext) -> None:
        super().__init__(windows, context)
        self.done = Stopping()


class Stopping(threading.Event):
    def wait(self, timeout: float | None = None) -> bool:
        raise KeyboardInterrupt


def test_interrupted_call_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Lock()
    counting = Counting()

    def network(ids: Ids, mask: Ids) -> NDArray[np.float32]:
        with gate:
            return counting(ids, mask)

    queue = BatchQueue([network], pad=0, budget=16)
    with gate, monkeypatch.context() as patch:
        patch.setattr(batching, "_Call", Stopped)
        with pytest.raises(KeyboardInterrupt):
            queue.run([[1], [2], [3]])
    assert queue._waiting == []
    assert queue.run([[4]])[0, 0] == 4
    assert len(counting.shapes) == 2  # the running window and that of the second call


def test_single_batch_runs_on_all_cores() -> None:
    both = threading.Barrier(2)
    all_cores = Counting()

    def one_of_two(ids: Ids, mask: Ids) -> NDArray[np.float32]:
        both.wait(10)  # fails unless both networks run at the same time
        return total(ids, mask)

    networks = [one_of_two, lambda ids, mask: one_of_two(ids, mask)]
    queue = BatchQueue(networks, pad=0, budget=32, latency_network=all_cores)
    assert queue.run([[n] for n in range(1, 5)])[:, 0].tolist() == [1, 2, 3, 4]
    assert all_cores.shapes == []
    assert queue.run([[5], [6]])[:, 0].tolist() == [5, 6]
    assert all_cores.shapes == [(2, 16)]


def test_long_text_does_not_delay_a_short_one() -> None:
    gate = Gate()
    queue = BatchQueue([gate], pad=0, budget=16)
    with ThreadPoolExecutor(2) as pool:
        long = pool.submit(queue.run, [[1]] * 500)
        wait_until(lambda: gate.seen)
        short = pool.submit(queue.run, [[2]])
        wait_until(lambda: any(window.call.windows == [[2]] for window in queue._waiting))
        gate.open.set()
        assert short.result(10).tolist() == [[2]]
        assert long.result(10).shape == (500, 1)
    assert gate.seen.index(2) < 40


def test_background_call_runs_when_nothing_else_waits() -> None:
    gate = Gate()
    queue = BatchQueue([gate], pad=0, budget=16)
    with ThreadPoolExecutor(2) as pool:
        background = pool.submit(queue.run, [[1]] * 60, CallContext(background=True))
        wait_until(lambda: gate.seen)
        live = pool.submit(queue.run, [[2]] * 40)
        wait_until(lambda: any(window.call.windows == [[2]] * 40 for window in queue._waiting))
        gate.open.set()
        assert live.result(10).shape == (40, 1)
        assert background.result(10).shape == (60, 1)
    assert gate.seen == [1] + [2] * 40 + [1] * 59


def test_queue_rejects_empty_input_and_missing_logits() -> None:
    with pytest.raises(ValueError, match="no windows"):
        BatchQueue([total], pad=0, budget=16).run([])
    queue = BatchQueue([lambda ids, mask: total(ids, mask)[:1]], pad=0, budget=64)
    with pytest.raises(RuntimeError, match="1 rows of logits for 2 windows"):
        queue.run([[1], [2]])
    assert queue.run([[1]]).tolist() == [[1, 1]]


def test_failed_thread_start_reaches_the_caller() -> None:
    queue = BatchQueue([total], pad=0, budget=64)
    queue._threads.shutdown()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="cannot schedule new futures"):
            queue.run([[1]])


def test_queues_share_cores() -> None:
    gate, cores = Gate(), Cores(1)
    slow = BatchQueue([gate], pad=0, budget=100, cores=cores)
    other = Counting()
    fast = BatchQueue([other], pad=0, budget=100, cores=cores)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(slow.run, [[1]])
        wait_until(lambda: bool(gate.seen))
        second = pool.submit(fast.run, [[2, 3]])
        wait_until(lambda: bool(fast._waiting))
        assert other.shapes == []
        gate.open.set()
        assert first.result().tolist() == [[1]]
        assert second.result().tolist() == [[5, 2]]
    assert cores.free == 1


def test_latency_network_waits_for_the_cores_of_other_queues() -> None:
    gate, cores = Gate(), Cores(2)
    busy = BatchQueue([gate, gate], pad=0, budget=100, cores=cores)
    latency, throughput = Counting(), Counting()
    queue = BatchQueue([throughput] * 2, pad=0, budget=100, latency_network=latency, cores=cores)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(busy.run, [[1]])
        wait_until(lambda: bool(gate.seen))
        queue.run([[2]])
        assert (len(latency.shapes), len(throughput.shapes)) == (0, 1)
        gate.open.set()
        first.result()
        queue.run([[2]])
    assert len(latency.shapes) == 1
