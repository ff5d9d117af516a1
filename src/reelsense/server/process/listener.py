"""Connections: requests are read whole, and answers are sent, beside the threads that work.

waitress does it in one loop, so that clients that send or read slowly hold a connection but no
thread. What is added here bounds their number, their time and their memory, answers what is no
request with a problem document, and ends well. Knows HTTP; knows neither routes nor texts.
"""

from __future__ import annotations

import errno
import logging
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.server import TcpWSGIServer
from waitress.task import ThreadedTaskDispatcher

from reelsense.server.middleware.load_shedding import MAX_JOB_REQUESTS
from reelsense.server.process.connection import MUCH, Connection
from reelsense.server.settings import Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

HEAD = 256 * 1024
"""The longest request line and headers together, in bytes: a review fits into a query."""

_IDLE = 75.0
"""Seconds that a connection is kept where nothing moves: longer than proxies keep theirs."""

_STALLED = 30.0
"""Seconds in which nothing of an answer is read, after which it is not sent on."""

_BETWEEN = 256 * 1024 * 1024
"""Bytes of bodies that are still arriving and of answers that are not read yet, in all; two files
of jobs at least."""

_GRACE = 1.0
"""Seconds that a connection on which nothing moves is kept once the process is to end."""

_AT_ONCE = 64
"""Connections accepted in a turn; until the next one there may be so many too many."""

_SPARE = 16
"""Threads beyond those that a full queue and jobs hold, for everything else: who says no."""

Refuse = Callable[[HTTPStatus], tuple[list[tuple[str, str]], bytes]]
"""Makes the headers and body of the answer to what is no request, from its status."""

_log = logging.getLogger(__name__)


class _Listener(TcpWSGIServer):  # type: ignore[misc]  # waitress ships no types
    channel_class = Connection
    draining = False
    most: int
    between: int
    read_timeout: float
    reject: Refuse

    full = False
    """Whether a thread waits in `make_room`."""
    arrived = 0
    """Bytes read since the buffers were last counted."""

    accepted = 0
    tidied = 0.0
    crowded = False
    """Whether a connection could not be accepted for want of files."""
    deaf_until = 0.0
    """Nothing is accepted before: the process may open no more files."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.room = threading.Condition()
        super().__init__(*args, **kwargs)

    def readable(self) -> bool:
        return bool(super().readable() and time.monotonic() >= self.deaf_until)

    def accept(self) -> Any:
        """Accept a connection, if there is one."""
        try:
            found = super().accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                _log.warning("no connection can be accepted: %s", error.strerror)
                self.crowded = True
                self.deaf_until = time.monotonic() + 0.1
            return None
        self.accepted += found is not None
        return found

    def handle_accept(self) -> None:
        """Accept those who wait, and not one a turn: a turn may be long."""
        for _ in range(_AT_ONCE):
            before = self.accepted
            super().handle_accept()
            if self.accepted == before:
                return

    def make_room(self) -> None:
        """Return once the buffers are within their bound; called by the threads that fill them.

        A thread that went on at once would fill more before the loop has closed a connection.
        """
        if sum(each.between for each in list(self.active_channels.values())) > self.between:
            with self.room:
                self.full = True
                self.pull_trigger()
                self.room.wait(1)

    def tidy(self) -> None:
        """Make room, take up what waits and, every second, look after all. Before each turn.

        Nothing is closed while the loop goes through its events: a new connection may get the
        number of a closed one, and then its events.
        """
        over = max(len(self.active_channels) - self.most, int(self.crowded))
        self.crowded = False
        if over > 0:
            waiting = [each for each in self.active_channels.values() if not each.requests]
            for each in sorted(waiting, key=lambda each: each.last_activity)[:over]:
                each.cut()
        for each in [each for each in self.active_channels.values() if each.rest]:
            each.take_up_rest()
        now = time.monotonic()
        if now >= self.tidied + 1:
            self.tidied = now
            self._look_after(now)
        if self.full or self.arrived > self.between // 16:
            with self.room:
                self.full = False
                self._bound_what_is_between()
                self.room.notify_all()

    def maintenance(self, now: float) -> None:
        """Do nothing where waitress calls this, in the midst of its events."""

    def _look_after(self, now: float) -> None:
        """Close what does not move, or not fast enough."""
        for each in list(self.active_channels.values()):
            still = now - each.last_activity
            if each.lingers_until and now > each.lingers_until:
                each.cut()
            elif each.begun and now > each.begun + self.read_timeout * each.times:
                each.give_up()
            elif still > _STALLED and each.total_outbufs_len:
                each.cut()
            elif still > _IDLE and not each.busy:
                each.will_close = True
        self._bound_what_is_between()

    def _bound_what_is_between(self) -> None:
        self.arrived = 0
        sizes = {each: each.between for each in self.active_channels.values() if each.between}
        size = sum(sizes.values())
        for each in sorted(sizes, key=lambda each: each.last_activity):
            if size <= self.between:
                return
            size -= sizes[each]
            each.cut()


class Connections:
    """The connections of one process, and the threads that answer."""

    def __init__(
        self,
        application: WSGIApplication,
        sockets: Iterable[socket.socket],
        settings: Settings,
        reject: Refuse,
        most: int = sys.maxsize,
    ) -> None:
        """Listen on `sockets`. Nothing moves but in `turn` and `drain`.

        There are `most` connections at a time, and no more than `settings` say.
        """
        self._map: dict[int, Any] = {}
        self._threads = ThreadedTaskDispatcher()
        self._threads.set_thread_count(settings.max_concurrent_requests + MAX_JOB_REQUESTS + _SPARE)
        adjustments = _adjustments(settings, settings.max_body)
        adjustments.of_uploads = _adjustments(
            settings,
            max(settings.max_upload, settings.max_body) if settings.max_jobs else settings.max_body,
        )
        self._listeners = [
            self._listener(application, each, adjustments, settings, reject, most)
            for each in sockets
        ]

    def _listener(
        self,
        application: WSGIApplication,
        listening: socket.socket,
        adjustments: Adjustments,
        settings: Settings,
        reject: Refuse,
        most: int,
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
        made.most = min(settings.max_connections, most)
        made.between = max(_BETWEEN, 2 * settings.max_upload)
        made.read_timeout = settings.read_timeout
        made.reject = reject
        return made

    @property
    def count(self) -> int:
        """The connections that are open."""
        return len(self._open())

    def turn(self, seconds: float) -> None:
        """Serve whatever moves within `seconds`."""
        for listener in self._listeners:
            listener.tidy()
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

    def close(self) -> None:
        """Close what is open, and end the threads."""
        self._threads.shutdown()
        wasyncore.close_all(self._map, ignore_all=True)

    def _accept_all(self, listener: _Listener) -> None:
        """Accept what the kernel has accepted already."""
        before = -1
        while before != (before := listener.accepted):
            listener.handle_accept()

    def _open(self) -> list[Connection]:
        return [each for one in self._listeners for each in one.active_channels.values()]


def _adjustments(settings: Settings, max_body: int) -> Any:
    """Return what waitress is to keep to, where a body has at most `max_body` bytes."""
    adjustments = Adjustments(
        # Those that are accepted beyond the limit, before another one is closed for them.
        connection_limit=settings.max_connections + 100,
        max_request_header_size=HEAD,
        # waitress refuses what is as long as these, and writes what is longer to disk.
        max_request_body_size=max_body + 1,
        inbuf_overflow=settings.max_body + 1,
        outbuf_overflow=1 << 30,
        # The application knows whom to trust.
        clear_untrusted_proxy_headers=False,
        log_socket_errors=False,
        asyncore_use_poll=True,
        ident="reelsense",
    )
    # It warns of the argument, and has nothing in its place.
    adjustments.send_bytes = MUCH
    return adjustments
