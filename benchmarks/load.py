"""Generate closed-loop load: clients that send one review after another, and their latencies.

Each client is a thread with one connection that is kept open. Knows HTTP and time; knows neither
which server answers nor whether the label is right.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from itertools import count
from typing import Protocol

from rivals.server import Request

TIMEOUT = 120.0
"""Seconds that a client waits for an answer."""

LEAST_ANSWERS = 64
"""A window stays open for as many, but no longer than LONGEST_WINDOW."""

LONGEST_WINDOW = 60.0
LONGEST_WARM_UP = 15.0

_TICK = 0.5
_PAUSE = 0.1
"""Seconds between two looks at the memory, and after an error."""


class LoadError(Exception):
    """A server that does not answer."""


class Meter(Protocol):
    """What a server takes of the machine."""

    def cpu_seconds(self) -> float:
        """Return the processor seconds taken so far."""
        ...

    def memory_mb(self) -> float:
        """Return the memory taken now."""
        ...


@dataclass(frozen=True, slots=True)
class Target:
    """A server as a client sees it."""

    port: int
    request: Callable[[int], Request]
    """The request number n."""
    label: Callable[[bytes], str]
    """From the body of an answer; any exception means that there is none."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one request."""

    number: int
    arrived: float
    """By time.perf_counter."""
    seconds: float
    label: str
    error: str = ""
    """Why there is no label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What was measured within a window. Counts answers that arrived in it, errors apart."""

    answers: int
    errors: int
    reviews_per_s: float
    cpu_s: float
    """Processor seconds a review, of the server alone."""
    client_cpu_s: float
    """Those of the clients, on the same cores."""
    p50_s: float
    p95_s: float
    p99_s: float
    peak_mb: float


class Client:
    """One connection, opened anew where the server has closed it."""

    def __init__(self, port: int, timeout: float = TIMEOUT) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=timeout)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def ask(self, request: Request) -> bytes:
        """Return the body of the answer. Raises LoadError if there is none, or it is no 200."""
        kept = self._connection.sock is not None
        try:
            try:
                return self._exchange(request)
            except ConnectionError:
                if not kept:
                    raise
                self.close()  # the server closed it while it was idle
                return self._exchange(request)
        except (OSError, HTTPException) as error:
            self.close()
            raise LoadError(f"{type(error).__name__}: {error}") from error

    def _exchange(self, request: Request) -> bytes:
        method = "GET" if request.body is None else "POST"
        headers = {} if request.body is None else {"Content-Type": "application/json"}
        self._connection.request(method, request.path, request.body, headers)
        answer = self._connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise LoadError(f"status {answer.status}: {body[:200].decode(errors='replace')}")
        return body


class Load:
    """Clients that ask `target` without a pause while the block runs, counting on from `first`.

    The end of the block waits for what is in flight.
    """

    def __init__(self, target: Target, clients: int, first: int = 0) -> None:
        self.target = target
        self.clients = clients
        self.answers: list[Answer] = []
        """In the order of arrival; grows."""
        self._numbers = count(first)
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        with closing(Client(self.target.port)) as client:
            while not self._stop.is_set():
                answer = _ask(client, self.target, next(self._numbers))
                self.answers.append(answer)
                if answer.error:
                    self._stop.wait(_PAUSE)


def _ask(client: Client, target: Target, number: int) -> Answer:
    request = target.request(number)
    start = arrived = time.perf_counter()
    label = error = ""
    try:
        body = client.ask(request)
        arrived = time.perf_counter()
        label = target.label(body)
    except LoadError as failure:
        arrived, error = time.perf_counter(), str(failure)
    except Exception as failure:  # noqa: BLE001 - whatever is wrong with the answer
        error = f"no label in the answer: {failure!r}"
    return Answer(number, arrived, arrived - start, label, error)


def first_answer(target: Target, alive: Callable[[], bool], at_most: float) -> None:
    """Ask every 20 ms until a label comes. Raises LoadError after `at_most` seconds."""
    deadline = time.perf_counter() + at_most
    with closing(Client(target.port, at_most)) as client:
        while (answer := _ask(client, target, 0)).error:
            if not alive():
                raise LoadError("the server ended before it answered")
            if time.perf_counter() > deadline:
                raise LoadError(f"no answer after {at_most:.0f} s: {answer.error}")
            time.sleep(0.02)


def measure(load: Load, meter: Meter, seconds: float) -> Figures:
    """Measure what `load` sees for `seconds`, after a warm-up of an answer for each client.

    Raises LoadError if nothing was answered.
    """
    _warm_up(load)
    before, memory = len(load.answers), []
    start, cpu, clients = time.perf_counter(), meter.cpu_seconds(), _clients_cpu()
    while (passed := time.perf_counter() - start) < seconds or (
        len(load.answers) - before < LEAST_ANSWERS and passed < LONGEST_WINDOW
    ):
        memory.append(meter.memory_mb())
        time.sleep(min(_TICK, seconds))
    end, cpu, clients = time.perf_counter(), meter.cpu_seconds() - cpu, _clients_cpu() - clients
    inside = [answer for answer in load.answers if start < answer.arrived <= end]
    errors = [answer.error for answer in inside if answer.error]
    latencies = sorted(answer.seconds for answer in inside if not answer.error)
    if not latencies:
        raise LoadError(errors[0] if errors else f"no answer within {end - start:.0f} s")
    return Figures(
        answers=len(latencies),
        errors=len(errors),
        reviews_per_s=len(latencies) / (end - start),
        cpu_s=cpu / len(latencies),
        client_cpu_s=clients / len(inside),
        p50_s=percentile(latencies, 0.50),
        p95_s=percentile(latencies, 0.95),
        p99_s=percentile(latencies, 0.99),
        peak_mb=max(memory),
    )


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the least of the `ordered` values that `share` of them do not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _warm_up(load: Load) -> None:
    deadline = time.perf_counter() + LONGEST_WARM_UP
    while len(load.answers) < max(4, load.clients) and time.perf_counter() < deadline:
        time.sleep(0.01)


def _clients_cpu() -> float:
    """Processor seconds of this process, but for the thread that measures."""
    return time.process_time() - time.thread_time()
