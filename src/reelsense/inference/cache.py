"""Least-recently-used cache: equal texts are computed once, also in concurrent calls.

Does not know what the values are.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

from reelsense.inference.call_context import CallContext

CACHE_SIZE = 10_000  # texts that a server caches by default; half a kilobyte each

_Value = TypeVar("_Value")
_Compute = Callable[[Sequence[int]], Sequence[_Value]]


class AnswerCache(Generic[_Value]):
    """Values for the most recently used texts and for those being computed. Thread-safe."""

    def __init__(self, max_size: int, version: str) -> None:
        """Keep at most `max_size` values of the model `version`."""
        self._max_size, self._version = max_size, version.encode()
        self._values: OrderedDict[bytes, _Value] = OrderedDict()
        self._in_flight: dict[bytes, Future[_Value]] = {}
        self._lock = threading.Lock()

    def get(
        self, texts: Sequence[str], compute: _Compute[_Value], context: CallContext | None = None
    ) -> list[_Value]:
        """Return the value for each text, computing it if necessary.

        `compute` takes the positions of texts that are neither cached nor being computed, and
        returns their values. A text whose computation failed in another call is computed here.
        Raises DeadlineError if another call has not finished in time.
        """
        context = context or CallContext()
        keys = [self._key(text) for text in texts]
        values: dict[bytes, _Value] = {}
        others: dict[bytes, Future[_Value]] = {}
        missing: dict[bytes, int] = {}
        with self._lock:
            for position, key in enumerate(keys):
                if key in self._values:
                    self._values.move_to_end(key)
                    values[key] = self._values[key]
                elif key in missing:
                    continue
                elif key in self._in_flight:
                    others[key] = self._in_flight[key]
                else:
                    missing[key] = position
            self._in_flight |= {key: Future() for key in missing}
        context.cache_hits += len(keys) - len(missing)
        values |= self._compute(missing, compute)
        with context.waiting():
            failed = {
                key: keys.index(key) for key, other in others.items() if _failed(other, context)
            }
        values |= {key: other.result() for key, other in others.items() if key not in failed}
        if failed:
            context.cache_hits -= len(failed)
            values |= zip(failed, compute(list(failed.values())), strict=True)
        return [values[key] for key in keys]

    def _compute(self, missing: dict[bytes, int], compute: _Compute[_Value]) -> dict[bytes, _Value]:
        if not missing:
            return {}
        try:
            values = dict(zip(missing, compute(list(missing.values())), strict=True))
        except BaseException as error:
            with self._lock:
                futures = [self._in_flight.pop(key) for key in missing]
            for future in futures:
                future.set_exception(error)
            raise
        with self._lock:
            futures = [self._in_flight.pop(key) for key in missing]
            self._values |= values
            while len(self._values) > self._max_size:
                self._values.popitem(last=False)
        for future, value in zip(futures, values.values(), strict=True):
            future.set_result(value)
        return values

    def _key(self, text: str) -> bytes:
        """Return a fingerprint, which takes less memory than the text."""
        return hashlib.blake2b(
            text.encode(errors="surrogatepass"), key=self._version, digest_size=16
        ).digest()


def _failed(future: Future[_Value], context: CallContext) -> bool:
    try:
        return future.exception(context.remaining) is not None
    except TimeoutError:
        raise context.deadline_error() from None
