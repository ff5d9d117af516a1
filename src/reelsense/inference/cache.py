"""Answers that are known already: identical texts are computed once.

Knows texts and what was computed of them. Does not know what that is.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

from reelsense.inference.call_context import CallContext

CACHE_SIZE = 10_000
"""Answers that a server keeps, unless told otherwise; half a kilobyte each."""

_Answer = TypeVar("_Answer")


class AnswerCache(Generic[_Answer]):
    """The answers to the last texts, and those that are being computed. Safe between threads."""

    def __init__(self, most: int, version: str) -> None:
        """Keep `most` answers of the model `version`; the least recently asked for goes first."""
        self._most, self._version = most, version.encode()
        self._known: OrderedDict[bytes, _Answer] = OrderedDict()
        self._computed: dict[bytes, Future[_Answer]] = {}
        self._lock = threading.Lock()

    def get(
        self,
        texts: Sequence[str],
        compute: Callable[[Sequence[int]], Sequence[_Answer]],
        context: CallContext | None = None,
    ) -> list[_Answer]:
        """Return an answer for each of `texts`.

        `compute` takes the places in `texts` of those nobody has computed, or is computing now;
        what it raises is raised here. If the computing of a text fails, one of those who wait for
        it computes it. Raises DeadlineError if others compute a text for longer than is left on
        `context`.
        """
        context = context or CallContext()
        keys = [self._key(text) for text in texts]
        answers: dict[bytes, _Answer] = {}
        others: dict[bytes, Future[_Answer]] = {}
        mine: dict[bytes, int] = {}
        with self._lock:
            for n, key in enumerate(keys):
                if key in self._known:
                    self._known.move_to_end(key)
                    answers[key] = self._known[key]
                elif key not in mine:
                    if key in self._computed:
                        others[key] = self._computed[key]
                    else:
                        mine[key] = n
                        self._computed[key] = Future()
        context.cache_hits += len(keys) - len(mine)
        answers |= self._compute(mine, compute)
        with context.waiting():
            failed = {key for key, other in others.items() if _failed(other, context)}
        answers |= {key: other.result() for key, other in others.items() if key not in failed}
        if failed:
            places = [n for n, key in enumerate(keys) if key in failed]
            context.cache_hits -= len(places)
            again = self.get(
                [texts[n] for n in places], lambda some: compute([places[n] for n in some]), context
            )
            answers |= dict(zip((keys[n] for n in places), again, strict=True))
        return [answers[key] for key in keys]

    def _compute(
        self, mine: dict[bytes, int], compute: Callable[[Sequence[int]], Sequence[_Answer]]
    ) -> dict[bytes, _Answer]:
        if not mine:
            return {}
        try:
            answers = dict(zip(mine, compute(list(mine.values())), strict=True))
        except BaseException as error:
            with self._lock:
                waited_for = [self._computed.pop(key) for key in mine]
            for future in waited_for:
                future.set_exception(error)
            raise
        with self._lock:
            waited_for = [self._computed.pop(key) for key in mine]
            self._known |= answers
            while len(self._known) > self._most:
                self._known.popitem(last=False)
        for future, answer in zip(waited_for, answers.values(), strict=True):
            future.set_result(answer)
        return answers

    def _key(self, text: str) -> bytes:
        """A text's fingerprint takes less memory than the text."""
        return hashlib.blake2b(
            text.encode(errors="surrogatepass"), key=self._version, digest_size=16
        ).digest()


def _failed(computed: Future[_Answer], context: CallContext) -> bool:
    try:
        return computed.exception(context.left) is not None
    except TimeoutError:
        raise context.expired() from None
