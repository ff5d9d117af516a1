"""Closed-loop load: clients that send one review after another, and their latencies.

Each client is a thread with one persistent connection. Does not know servers or correct labels.
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

TIMEOUT = 120.0  # seconds that a client waits for an answer
MIN_ANSWERS = 64  # a measurement goes on until there are as many, but no longer than MAX_WINDOW
MAX_WINDOW = 60.0
MAX_WARM_UP = 15.0

_MEMORY_INTERVAL = 0.5
_PAUSE_AFTER_ERROR = 0.1


class LoadError(Exception):
    """The server does not answer."""


class Meter(Protocol):
    """Resource usage of a server."""

    def cpu_seconds(self) -> float:
        """Return the processor seconds used so far."""
        ...

    def memory_mb(self) -> float:
        """Return the current memory."""
        ...


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server as a client sees it."""

    port: int
    request: Callable[[int], Request]  # returns the request number n
    label: Callable[[bytes], str]  # parses an answer; raises any exception if it has no label


@dataclass(frozen=True, slots=True)
class Answer:
    """The outcome of one request."""

    number: int
    arrived: float  # by time.perf_counter
    seconds: float
    label: str
    error: str = ""  # why there is no label


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadMetrics:
    """Measurements of one window. Counts answers that arrived in it, errors separately."""

    answers: int
    errors: int
    reviews_per_s: float
    cpu_s: float  # processor seconds per review, of the server alone
    client_cpu_s: float  # of the clients, on the same cores
    p50_s: float
    p95_s: float
    p99_s: float
    peak_mb: float


class Client:
    """A persistent connection, opened again if the server has closed it."""

    def __init__(self, port: int, timeout: float = TIMEOUT) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=timeout)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def send(self, request: Request) -> bytes:
        """Return the body of the answer. Raises LoadError if there is none with status 200."""
        reused = self._connection.sock is not None
        try:
            try:
                return self._exchange(request)
            except ConnectionError:
                if not reused:
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
        response = self._connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise LoadError(f"status {response.status}: {body[:200].decode(errors='replace')}")
        return body


class Load:
    """Clients that send requests to `endpoint` without a pause while the block runs.

    Requests are numbered from `first`. Leaving the block waits for those in flight.
    """

    def __init__(self, endpoint: Endpoint, clients: int, first: int = 0) -> None:
        self.endpoint = endpoint
        self.clients = clients
        self.answers: list[Answer] = []  # in the order of arrival; grows
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
        with closing(Client(self.endpoint.port)) as client:
            while not self._stop.is_set():
                answer = _request(client, self.endpoint, next(self._numbers))
                self.answers.append(answer)
                if answer.error:
                    self._stop.wait(_PAUSE_AFTER_ERROR)


def _request(client: Client, endpoint: Endpoint, number: int) -> Answer:
    request = endpoint.request(number)
    start = arrived = time.perf_counter()
    label = error = ""
    try:
        body = client.send(request)
        arrived = time.perf_counter()
        label = endpoint.label(body)
    except LoadError as failure:
        arrived, error = time.perf_counter(), str(failure)
    except Exception as failure:  # noqa: BLE001 - the answer may be malformed in any way
        error = f"no label in the answer: {failure!r}"
    return Answer(number, arrived, arrived - start, label, error)


def wait_for_answer(endpoint: Endpoint, alive: Callable[[], bool], timeout: float) -> None:
    """Send a request every 20 ms until one is answered. Raises LoadError after `timeout` s."""
    deadline = time.perf_counter() + timeout
    with closing(Client(endpoint.port, timeout)) as client:
        while (answer := _request(client, endpoint, 0)).error:
            if not alive():
                raise LoadError("the server ended before it answered")
            if time.perf_counter() > deadline:
                raise LoadError(f"no answer after {timeout:.0f} s: {answer.error}")
            time.sleep(0.02)


def measure(load: Load, meter: Meter, seconds: float) -> LoadMetrics:
    """Measure `load` for `seconds`, after a warm-up of one answer for each client.

    Raises LoadError if nothing was answered.
    """
    _warm_up(load)
    before, memory = len(load.answers), []
    start, cpu, client_cpu = time.perf_counter(), meter.cpu_seconds(), _clients_cpu()
    while (passed := time.perf_counter() - start) < seconds or (
        len(load.answers) - before < MIN_ANSWERS and passed < MAX_WINDOW
    ):
        memory.append(meter.memory_mb())
        time.sleep(min(_MEMORY_INTERVAL, seconds))
    end = time.perf_counter()
    cpu, client_cpu = meter.cpu_seconds() - cpu, _clients_cpu() - client_cpu
    inside = [answer for answer in load.answers if start < answer.arrived <= end]
    errors = [answer.error for answer in inside if answer.error]
    latencies = sorted(answer.seconds for answer in inside if not answer.error)
    if not latencies:
        raise LoadError(errors[0] if errors else f"no answer within {end - start:.0f} s")
    return LoadMetrics(
        answers=len(latencies),
        errors=len(errors),
        reviews_per_s=len(latencies) / (end - start),
        cpu_s=cpu / len(latencies),
        client_cpu_s=client_cpu / len(inside),
        p50_s=percentile(latencies, 0.50),
        p95_s=percentile(latencies, 0.95),
        p99_s=percentile(latencies, 0.99),
        peak_mb=max(memory),
    )


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the lowest of the `ordered` values that at least `share` of them do not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _warm_up(load: Load) -> None:
    deadline = time.perf_counter() + MAX_WARM_UP
    while len(load.answers) < max(4, load.clients) and time.perf_counter() < deadline:
        time.sleep(0.01)


def _clients_cpu() -> float:
    """Return the processor seconds of this process without those of the calling thread."""
    return time.process_time() - time.thread_time()
