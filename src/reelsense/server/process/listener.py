"""The connections of a process: one event loop reads requests and sends responses for all threads.

Limits the number, duration and memory of connections, and shuts down gracefully. Does not know
routes.
"""

from __future__ import annotations

import errno
import logging
import socket
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any

from flask import Flask
from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.server import TcpWSGIServer
from waitress.task import ThreadedTaskDispatcher

from reelsense.server.middleware.load_shedding import (
    MAX_FEEDBACK_REQUESTS,
    MAX_JOB_REQUESTS,
)
from reelsense.server.middleware.problems import malformed_request_response
from reelsense.server.process.connection import SEND_BYTES, Connection
from reelsense.server.settings import Settings
from reelsense.server.state import state_of

# Maximum size of the request line and the headers together: a review fits into a query string.
MAX_HEADER_BYTES = 256 * 1024

# Seconds until an idle connection is closed: longer than proxies wait.
_IDLE_TIMEOUT = 75.0

# Seconds without progress until sending a response is aborted.
_STALLED_TIMEOUT = 30.0

# Maximum bytes of incoming bodies and unread responses of all connections; at least two uploads.
_MAX_BUFFERED = 256 * 1024 * 1024

# Seconds that an idle connection is kept open once the process is shutting down.
_DRAIN_IDLE = 1.0

# Connections accepted in one turn of the loop; until the next turn, they may exceed the limit.
_ACCEPTS_PER_TURN = 64

# Threads beyond those for the queue and for jobs, to reject requests and answer health checks.
_SPARE_THREADS = 16

_log = logging.getLogger(__name__)


class _Listener(TcpWSGIServer):  # type: ignore[misc]  # waitress has no type hints
    channel_class = Connection
    draining = False
    max_connections: int
    max_buffered: int
    read_timeout: float
    # Returns the headers and the body of the error response to a malformed request.
    reject: Callable[[HTTPStatus], tuple[list[tuple[str, str]], bytes]]

    thread_waits = False  # in `wait_for_room`
    bytes_received = 0  # since `max_buffered` was last enforced
    accepted = 0
    last_check = 0.0
    # Set when the process cannot open more files: close a connection, and accept none for a moment.
    out_of_files = False
    pause_until = 0.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.room = threading.Condition()
        super().__init__(*args, **kwargs)

    @property
    def connections(self) -> list[Connection]:
        return list(self.active_channels.values())

    def getsockname(self) -> tuple[str, str]:
        """Return host and port for requests without the header Host."""
        if self.family == socket.AF_UNIX:
            return "localhost", "80"
        host, port = super().getsockname()
        return host, port

    def fix_addr(self, addr: Any) -> Any:
        """Return the address of a client. Those of a Unix domain socket have none."""
        return ("unix", 0) if self.family == socket.AF_UNIX else addr

    def set_socket_options(self, conn: socket.socket) -> None:
        if self.family != socket.AF_UNIX:  # the options are those of TCP
            super().set_socket_options(conn)

    def readable(self) -> bool:
        return bool(super().readable() and time.monotonic() >= self.pause_until)

    def accept(self) -> Any:
        """Accept a connection; return None if there is none."""
        try:
            connection = super().accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                _log.warning("cannot accept a connection: %s", error.strerror)
                self.out_of_files = True
                self.pause_until = time.monotonic() + 0.1
            return None
        self.accepted += connection is not None
        return connection

    def handle_accept(self) -> None:
        """Accept all waiting connections. waitress accepts one per turn, but a turn may be long."""
        for _ in range(_ACCEPTS_PER_TURN):
            before = self.accepted
            super().handle_accept()
            if self.accepted == before:
                return

    def wait_for_room(self) -> None:
        """Block until the buffers are below their limit. Called by the threads that fill them."""
        if sum(connection.buffered for connection in self.connections) > self.max_buffered:
            with self.room:
                self.thread_waits = True
                self.pull_trigger()
                self.room.wait(1)

    def before_turn(self) -> None:
        """Enforce the limits and resume pipelined requests. Called before each turn of the loop.

        No connection is closed during a turn: a new one could get its file descriptor, and then
        its events.
        """
        excess = max(len(self.active_channels) - self.max_connections, int(self.out_of_files))
        self.out_of_files = False
        if excess > 0:
            waiting = [connection for connection in self.connections if not connection.requests]
            for connection in sorted(waiting, key=_last_activity)[:excess]:
                connection.close_now()
        for connection in self.connections:
            if connection.pipelined:
                connection.resume_pipelined()
        now = time.monotonic()
        if now >= self.last_check + 1:
            self.last_check = now
            self._enforce_timeouts(now)
        if self.thread_waits or self.bytes_received > self.max_buffered // 16:
            with self.room:
                self.thread_waits = False
                self._enforce_max_buffered()
                self.room.notify_all()

    def maintenance(self, now: float) -> None:
        """Override waitress's limits, which it enforces during a turn."""

    def _enforce_timeouts(self, now: float) -> None:
        for connection in self.connections:
            idle = now - connection.last_activity
            start = connection.request_start
            if connection.lingers_until and now > connection.lingers_until:
                connection.close_now()
            elif start and now > start + self.read_timeout * connection.timeout_factor:
                connection.time_out()
            elif idle > _STALLED_TIMEOUT and connection.total_outbufs_len:
                connection.close_now()
            elif idle > _IDLE_TIMEOUT and not connection.busy:
                connection.will_close = True
        self._enforce_max_buffered()

    def _enforce_max_buffered(self) -> None:
        """Close the least recently active connections until the buffers are below their limit."""
        self.bytes_received = 0
        sizes = {connection: connection.buffered for connection in self.connections}
        total = sum(sizes.values())
        for connection in sorted(filter(sizes.get, sizes), key=_last_activity):
            if total <= self.max_buffered:
                return
            total -= sizes[connection]
            connection.close_now()


def _last_activity(connection: Connection) -> float:
    return connection.last_activity


class Connections:
    """The connections of a process, and the threads that handle its requests.

    Only `turn` and `drain` read and send. `max_connections` is the limit of the system, in case it
    is lower than that of the settings.
    """

    def __init__(
        self, app: Flask, listening: socket.socket, max_connections: int = sys.maxsize
    ) -> None:
        settings = state_of(app).settings
        self._map: dict[int, Any] = {}
        self._threads = ThreadedTaskDispatcher()
        self._threads.set_thread_count(
            settings.max_concurrent_requests
            + MAX_JOB_REQUESTS
            + MAX_FEEDBACK_REQUESTS
            + _SPARE_THREADS
        )
        max_upload = max(settings.max_upload if settings.max_jobs else 0, settings.max_body)
        adjustments = _adjustments(settings, settings.max_body)
        adjustments.for_uploads = _adjustments(settings, max_upload)
        self._listener = _Listener(
            app,
            self._map,
            True,  # starts to listen
            listening,
            dispatcher=self._threads,
            adj=adjustments,
            sockinfo=(listening.family, listening.type, listening.proto, listening.getsockname()),
            bind_socket=False,
        )
        self._listener.max_connections = min(settings.max_connections, max_connections)
        self._listener.max_buffered = max(_MAX_BUFFERED, 2 * settings.max_upload)
        self._listener.read_timeout = settings.read_timeout
        self._listener.reject = partial(malformed_request_response, app)

    @property
    def count(self) -> int:
        return len(self._listener.connections)

    def turn(self, seconds: float) -> None:
        """Run one turn of the event loop; wait at most `seconds` for an event."""
        self._listener.before_turn()
        wasyncore.loop(timeout=seconds, use_poll=True, map=self._map, count=1)

    def wake(self) -> None:
        """End the current turn. May be called from any thread and from signal handlers."""
        self._listener.pull_trigger()

    def drain(self, seconds: float, before_turn: Callable[[], None]) -> None:
        """Accept no new connections, and return once all accepted requests are answered.

        Waits at most `seconds`. Idle connections are closed after a moment, in which a request that
        is on its way can arrive.
        """
        listener = self._listener
        listener.draining = True
        # Accept the connections that the kernel has accepted already.
        accepted = -1
        while accepted != (accepted := listener.accepted):
            listener.handle_accept()
        wasyncore.dispatcher.close(listener)
        start = time.monotonic()
        while (left := listener.connections) and (elapsed := time.monotonic() - start) < seconds:
            before_turn()
            for connection in left:
                if elapsed > _DRAIN_IDLE and not connection.busy and not connection.lingers_until:
                    connection.close_now()
            self.turn(0.05)

    def close(self) -> None:
        """Close all connections and end the threads."""
        self._threads.shutdown()
        wasyncore.close_all(self._map, ignore_all=True)


def _adjustments(settings: Settings, max_body: int) -> Any:
    """Return the configuration of waitress for bodies of at most `max_body` bytes."""
    adjustments = Adjustments(
        # More than the limit: `before_turn` closes another connection for each of them.
        connection_limit=settings.max_connections + 100,
        max_request_header_size=MAX_HEADER_BYTES,
        # waitress rejects bodies from the first size on, and buffers on disk from the second on.
        max_request_body_size=max_body + 1,
        inbuf_overflow=settings.max_body + 1,
        outbuf_overflow=1 << 30,
        # The application decides which proxies to trust.
        clear_untrusted_proxy_headers=False,
        log_socket_errors=False,
        asyncore_use_poll=True,
        ident="reelsense",
    )
    # As an argument, waitress warns of it as deprecated, without an alternative.
    adjustments.send_bytes = SEND_BYTES
    return adjustments
