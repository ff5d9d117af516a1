"""Connections: requests are read whole, and answers are sent, beside the threads that work.

waitress does it in one loop, so that clients that send or read slowly hold a connection but no
thread. What is added here bounds their number, their time and their memory, answers what is no
request with a problem document, and ends well. Knows HTTP; knows neither routes nor texts.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer
from waitress.task import ErrorTask, ThreadedTaskDispatcher, WSGITask
from waitress.utilities import Error

from reelsense.server.config import Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

HEAD = 256 * 1024
"""The longest request line and headers together, in bytes: a review fits into a query."""

_IDLE = 75.0
"""Seconds that a connection is kept where nothing moves: longer than proxies keep theirs."""

_ARRIVING = 256 * 1024 * 1024
"""Bytes of bodies that are still arriving, of all connections."""

_MUCH = 64 * 1024
"""Bytes of an answer that are sent before it is complete."""

_LINGER = 2.0
"""Seconds in which a client may read the answer to a request that was not read to its end."""

_GRACE = 1.0
"""Seconds that a connection on which nothing moves is kept once the process is to end."""

_SPARE = 16
"""Threads beyond those that a full queue holds, for everything else: a full queue is answered."""

Refuse = Callable[[HTTPStatus, str], tuple[list[tuple[str, str]], bytes]]
"""Makes the headers and body of the answer to what is no request, from the status and why."""


class _TooSlowError(Error):  # type: ignore[misc]  # waitress ships no types
    code, reason = 408, "Request Timeout"


class _Answer(WSGITask):  # type: ignore[misc]
    def build_response_header(self) -> bytes:
        if self.channel.server.draining:
            self.set_close_on_finish()
        header: bytes = super().build_response_header()
        return header

    def finish(self) -> None:
        super().finish()
        self.channel.flush()


class _Refusal(ErrorTask):  # type: ignore[misc]
    """The answer to what is no request."""

    def execute(self) -> None:
        error = self.request.error
        headers, body = self.channel.server.refuse(HTTPStatus(error.code), error.body)
        self.status = f"{error.code} {error.reason}"
        self.response_headers.extend(headers)
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class _Connection(HTTPChannel):  # type: ignore[misc]
    task_class, error_task_class = _Answer, _Refusal

    # These three are waitress's.
    request: Any = None
    requests: list[Any]
    will_close: bool = False

    begun = 0.0
    """When the first byte of the request that is arriving came; 0: none is."""
    lingers_until = 0.0

    @property
    def busy(self) -> bool:
        """Whether a request is arriving or in hand, or an answer is being sent."""
        return bool(self.requests or self.request or self.total_outbufs_len)

    def readable(self) -> bool:
        return bool(self.lingers_until or super().readable())

    def writable(self) -> bool:
        if self.lingers_until:
            return False
        if self.requests and not self.will_close:
            # The thread in hand sends; this loop would only spin beside it.
            return bool(self.total_outbufs_len >= _MUCH)
        return bool(super().writable())

    def flush(self) -> None:
        """Send what there is, from the thread that made it: head and body at once."""
        with self.outbuf_lock:
            self._flush_exception(self._flush_some, do_close=False)

    def received(self, data: bytes) -> bool:
        if self.lingers_until:
            return False
        self.begun = self.begun or time.monotonic()
        taken: bool = super().received(data)
        if self.request is None:
            self.begun = 0.0
        return taken

    def handle_close(self) -> None:
        """Close; but first let the client read the answer if it has not sent all it meant to.

        Closing at once would reset the connection, and the answer with it (RFC 9112, 9.6).
        """
        if self.will_close and self.connected and not self.lingers_until:
            try:
                self.socket.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            else:
                self.will_close = self.close_when_flushed = False
                self.lingers_until = time.monotonic() + _LINGER
                return
        super().handle_close()

    def cut(self) -> None:
        """Close at once."""
        super().handle_close()

    def give_up(self, seconds: float) -> None:
        """Answer that the request took longer than `seconds` to arrive."""
        with self.requests_lock:
            request = self.request
            if request is None:
                return
            request.error = _TooSlowError(f"the request had not arrived after {seconds:g} seconds")
            request.completed = True
            self.requests.append(request)
            self.request, self.begun = None, 0.0
            if len(self.requests) == 1:
                self.server.add_task(self)


class _Listener(TcpWSGIServer):  # type: ignore[misc]
    channel_class = _Connection
    draining = False
    most: int
    read_timeout: float
    refuse: Refuse

    def handle_accept(self) -> None:
        """Accept a connection; where there are too many, the one that is idle the longest goes."""
        if len(self.active_channels) >= self.most:
            waiting = [each for each in self.active_channels.values() if not each.requests]
            if waiting:
                min(waiting, key=lambda each: each.last_activity).cut()
        super().handle_accept()

    def maintenance(self, now: float) -> None:
        super().maintenance(now)
        clock = time.monotonic()
        for each in list(self.active_channels.values()):
            if each.lingers_until and clock > each.lingers_until:
                each.cut()
            elif each.begun and clock > each.begun + self.read_timeout:
                each.give_up(self.read_timeout)
        self._bound_what_arrives()

    def _bound_what_arrives(self) -> None:
        arriving = sorted(
            (each for each in self.active_channels.values() if each.request is not None),
            key=lambda each: each.begun,
        )
        size = sum(each.request.body_bytes_received for each in arriving)
        for each in arriving:
            if size <= _ARRIVING:
                return
            size -= each.request.body_bytes_received
            each.cut()


class Connections:
    """The connections of one process, and the threads that answer."""

    def __init__(
        self,
        application: WSGIApplication,
        sockets: Iterable[socket.socket],
        settings: Settings,
        refuse: Refuse,
    ) -> None:
        """Listen on `sockets`. Nothing moves but in `turn` and `drain`."""
        self._map: dict[int, Any] = {}
        self._threads = ThreadedTaskDispatcher()
        self._threads.set_thread_count(settings.queue + _SPARE)
        adjustments = Adjustments(
            # Those that are accepted beyond the limit, before another one is closed for them.
            connection_limit=settings.connections + 100,
            channel_timeout=_IDLE,
            cleanup_interval=1,
            # A client that hangs up is noticed while its request is in hand.
            channel_request_lookahead=1,
            max_request_header_size=HEAD,
            # waitress refuses what is as long as these, and writes what is longer to disk.
            max_request_body_size=settings.max_body + 1,
            inbuf_overflow=settings.max_body + 1,
            outbuf_overflow=1 << 30,
            # The application knows whom to trust.
            clear_untrusted_proxy_headers=False,
            log_socket_errors=False,
            asyncore_use_poll=True,
            ident="reelsense",
        )
        # It warns of the argument, and has nothing in its place.
        adjustments.send_bytes = _MUCH
        self._listeners = [
            self._listener(application, each, adjustments, settings, refuse) for each in sockets
        ]

    def _listener(
        self,
        application: WSGIApplication,
        listening: socket.socket,
        adjustments: Adjustments,
        settings: Settings,
        refuse: Refuse,
    ) -> _Listener:
        made = _Listener(
            application,
            self._map,
            True,  # begins to listen
            listening,
            dispatcher=self._threads,
            adj=adjustments,
            sockinfo=(listening.family, listening.type, listening.proto, listening.getsockname()),
            bind_socket=False,
        )
        made.most, made.read_timeout = settings.connections, settings.read_timeout
        made.refuse = refuse
        return made

    @property
    def count(self) -> int:
        """The connections that are open."""
        return len(self._open())

    def turn(self, seconds: float) -> None:
        """Serve whatever moves within `seconds`."""
        wasyncore.loop(timeout=seconds, use_poll=True, map=self._map, count=1)

    def wake(self) -> None:
        """End the current turn, from anywhere."""
        self._listeners[0].pull_trigger()

    def drain(self, seconds: float, each_turn: Callable[[], None]) -> None:
        """Take no new connections, and return once all that was accepted is answered.

        At most `seconds` from now. A connection on which nothing moves is kept for a moment: its
        client may be sending already.
        """
        for listener in self._listeners:
            listener.draining = True
            self._accept_all(listener)
            wasyncore.dispatcher.close(listener)
        begun = time.monotonic()
        while (left := self._open()) and (spent := time.monotonic() - begun) < seconds:
            each_turn()
            for each in left:
                if spent > _GRACE and not each.busy and not each.lingers_until:
                    each.cut()
            self.turn(0.05)
            for listener in self._listeners:
                listener.maintenance(time.time())

    def close(self) -> None:
        """Close what is open, and end the threads."""
        self._threads.shutdown()
        wasyncore.close_all(self._map, ignore_all=True)

    def _accept_all(self, listener: _Listener) -> None:
        """Accept what the kernel has accepted already."""
        before = -1
        while before != (before := len(listener.active_channels)):
            listener.handle_accept()

    def _open(self) -> list[_Connection]:
        return [each for one in self._listeners for each in one.active_channels.values()]
