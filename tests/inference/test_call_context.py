import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from reelsense.errors import AbandonedError, DeadlineError
from reelsense.inference.batching import BatchQueue
from reelsense.inference.cache import AnswerCache
from reelsense.inference.call_context import CallContext
from tests import tiny
from tests.inference.gate import Gate
from tests.waiting import wait_until


def test_expired_window_skips_forward_pass() -> None:
    gate = Gate()
    queue = BatchQueue([gate], pad=0, budget=16)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(queue.run, [[1]])
        wait_until(lambda: gate.seen)
        with pytest.raises(DeadlineError):
            queue.run([[2]], CallContext(0.05))
        gate.open.set()
        assert first.result(10).tolist() == [[1]]
    assert queue.run([[3]]).tolist() == [[3]]
    assert gate.seen == [1, 3]


def test_cancelled_window_skips_forward_pass() -> None:
    gate = Gate()
    queue = BatchQueue([gate], pad=0, budget=16)
    disconnected: list[bool] = []
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(queue.run, [[1]])
        wait_until(lambda: gate.seen)
        second = pool.submit(
            queue.run, [[2]] * 40, CallContext(is_cancelled=lambda: bool(disconnected))
        )
        wait_until(lambda: queue._waiting)
        disconnected.append(True)
        gate.open.set()
        assert first.result(10).tolist() == [[1]]
        with pytest.raises(AbandonedError):
            second.result(10)
    assert gate.seen == [1]
    assert queue.run([[3]]).tolist() == [[3]]


def test_on_batch_is_called_for_every_batch() -> None:
    batches: list[tuple[int, int]] = []
    queue = BatchQueue(
        [lambda ids, mask: ids[:, :1].astype(np.float32)],
        pad=0,
        budget=32,
        on_batch=lambda windows, tokens: batches.append((windows, tokens)),
    )
    queue.run([[1, 2], [3], [4]])
    assert sorted(batches) == [(1, 1), (2, 3)]


def test_expired_context_runs_nothing() -> None:
    gate = Gate()
    context = CallContext(0.01)
    time.sleep(0.02)
    assert context.remaining == 0
    with pytest.raises(DeadlineError):
        BatchQueue([gate], pad=0, budget=16).run([[1]], context)
    assert gate.seen == []


def test_expired_context_tokenizes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = tiny.classifier()
    context = CallContext(0.01)

    def slow(text: str) -> str:
        time.sleep(0.02)
        return text

    monkeypatch.setattr("reelsense.text.clean.clean", slow)
    with pytest.raises(DeadlineError):
        classifier.predict(["good"], context=context)
    assert context.tokenize == 0
    assert context.network == 0


def test_wait_for_another_call_ends_at_the_deadline() -> None:
    cache = AnswerCache[int](9, "v1")
    begun, go_on = threading.Event(), threading.Event()

    def slow(positions: Sequence[int]) -> list[int]:
        begun.set()
        assert go_on.wait(10)
        return [7]

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(cache.get, ["same"], slow)
        assert begun.wait(10)
        context = CallContext(0.05)
        with pytest.raises(DeadlineError):
            cache.get(["same"], slow, context)
        assert context.queue >= 0.05
        go_on.set()
        assert first.result(10) == [7]


def test_queue_and_network_times_are_separate() -> None:
    def slow(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        time.sleep(0.05)
        return ids[:, :1].astype(np.float32)

    queue = BatchQueue([slow], pad=0, budget=16)
    contexts = [CallContext(), CallContext()]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda context: queue.run([[1]], context), contexts))
    for context in contexts:
        assert 0.05 <= context.network < 0.1
        assert context.network + context.queue <= context.elapsed
    assert max(context.queue for context in contexts) >= 0.04


def test_tokenize_time_is_measured() -> None:
    context = CallContext()
    tiny.classifier().predict(["a good film"] * 20, context=context)
    assert context.tokenize > 0
    assert context.network > 0
    assert context.remaining is None
