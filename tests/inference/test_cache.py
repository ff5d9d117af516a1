import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelsense.inference.cache import AnswerCache
from reelsense.inference.call_context import CallContext
from tests.waiting import wait_until


class Lengths:
    """Computes the lengths of `texts`, keeping what it was asked for."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = texts
        self.asked: list[str] = []

    def __call__(self, places: Sequence[int]) -> list[int]:
        self.asked += [self.texts[n] for n in places]
        return [len(self.texts[n]) for n in places]


@given(st.lists(st.lists(st.text(max_size=3), max_size=8), max_size=8), st.integers(0, 5))
def test_every_text_gets_its_own_answer_and_memory_is_bounded(
    calls: list[list[str]], most: int
) -> None:
    cache = AnswerCache[int](most, "v1")
    for texts in calls:
        lengths = Lengths(texts)
        assert cache.get(texts, lengths) == [len(text) for text in texts]
        assert len(lengths.asked) == len(set(lengths.asked))
        assert len(cache._known) <= most
        assert not cache._computed


def test_the_least_recently_asked_for_is_forgotten_first() -> None:
    cache = AnswerCache[int](2, "v1")
    for text in ("a", "b", "a", "c"):
        cache.get([text], Lengths([text]))
    again, context = Lengths(["a", "b", "c"]), CallContext()
    cache.get(again.texts, again, context)
    assert again.asked == ["b"]
    assert context.cache_hits == 2


def test_a_text_in_flight_is_computed_once() -> None:
    cache = AnswerCache[int](0, "v1")
    begun, go_on = threading.Event(), threading.Event()

    def slow(places: Sequence[int]) -> list[int]:
        begun.set()
        assert go_on.wait(10)
        return [7] * len(places)

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
    assert other.asked == ["other"]


def test_the_failure_of_another_caller_is_not_ones_own() -> None:
    cache = AnswerCache[int](9, "v1")
    begun, go_on = threading.Event(), threading.Event()

    def failing(_places: Sequence[int]) -> list[int]:
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
    assert mine.asked == ["same"]
    assert not cache._computed


def test_after_a_failure_one_of_those_who_wait_computes() -> None:
    cache = AnswerCache[int](9, "v1")
    begun, go_on = threading.Event(), threading.Event()
    computed: list[int] = []

    def failing(_places: Sequence[int]) -> list[int]:
        begun.set()
        assert go_on.wait(10)
        raise ValueError

    def slow(places: Sequence[int]) -> list[int]:
        computed.extend(places)
        time.sleep(0.1)
        return [4]

    with ThreadPoolExecutor(5) as pool:
        pool.submit(cache.get, ["same"], failing)
        assert begun.wait(10)
        clocks = [CallContext() for _ in range(4)]
        others = [pool.submit(cache.get, ["same"], slow, context) for context in clocks]
        wait_until(lambda: all(context.cache_hits for context in clocks))
        go_on.set()
        assert [other.result(10) for other in others] == [[4]] * 4
    assert computed == [0]
    assert sum(context.cache_hits for context in clocks) == 3


def test_lone_surrogates_have_fingerprints() -> None:
    assert AnswerCache[int](1, "v1").get(["\ud800"], Lengths(["\ud800"])) == [1]
