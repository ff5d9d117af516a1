import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelsense.inference.cache import AnswerCache
from reelsense.inference.call_context import CallContext
from tests.waiting import wait_until


class Lengths:
    """Computes the lengths of `texts`, recording which."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = texts
        self.computed: list[str] = []

    def __call__(self, positions: Sequence[int]) -> list[int]:
        self.computed += [self.texts[n] for n in positions]
        return [len(self.texts[n]) for n in positions]


@given(st.lists(st.lists(st.text(max_size=3), max_size=8), max_size=8), st.integers(0, 5))
def test_cache_returns_the_value_of_each_text_and_bounds_its_size(
    calls: list[list[str]], max_size: int
) -> None:
    cache = AnswerCache[int](max_size, "v1")
    for texts in calls:
        lengths = Lengths(texts)
        assert cache.get(texts, lengths) == [len(text) for text in texts]
        assert len(lengths.computed) == len(set(lengths.computed))
        assert len(cache._values) <= max_size
        assert not cache._in_flight


def test_cache_evicts_the_least_recently_used() -> None:
    cache = AnswerCache[int](2, "v1")
    for text in ("a", "b", "a", "c"):
        cache.get([text], Lengths([text]))
    again, context = Lengths(["a", "b", "c"]), CallContext()
    cache.get(again.texts, again, context)
    assert again.computed == ["b"]
    assert context.cache_hits == 2


def test_concurrent_text_is_computed_once() -> None:
    cache = AnswerCache[int](0, "v1")
    begun, go_on = threading.Event(), threading.Event()

    def slow(positions: Sequence[int]) -> list[int]:
        begun.set()
        assert go_on.wait(10)
        return [7] * len(positions)

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(cache.get, ["same"], slow)
        assert begun.wait(10)
        other = Lengths(["other", "same"])
        context = CallContext()
        second = pool.submit(cache.get, other.texts, other, context)
        wait_until(lambda: context.cache_hits)
        go_on.set()
        assert first.result(10) == [7]
        assert second.result(10) == [5, 7]
    assert other.computed == ["other"]


def test_failure_of_another_call_is_not_shared() -> None:
    cache = AnswerCache[int](9, "v1")
    begun, go_on = threading.Event(), threading.Event()

    def failing(_positions: Sequence[int]) -> list[int]:
        begun.set()
        assert go_on.wait(10)
        raise ValueError("of its other text")

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(cache.get, ["same", "bad"], failing)
        assert begun.wait(10)
        mine = Lengths(["same"])
        context = CallContext()
        second = pool.submit(cache.get, mine.texts, mine, context)
        wait_until(lambda: context.cache_hits)
        go_on.set()
        assert second.result(10) == [4]
        with pytest.raises(ValueError, match="other text"):
            first.result(10)
    assert mine.computed == ["same"]
    assert not cache._in_flight


def test_cache_accepts_lone_surrogates() -> None:
    assert AnswerCache[int](1, "v1").get(["\ud800"], Lengths(["\ud800"])) == [1]
