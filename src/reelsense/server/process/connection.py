"""One HTTP connection: reading requests, sending responses, closing.

Extends waitress's channel with protection against slow, malformed and malicious clients. Knows
neither the other connections nor the application.
"""

from __future__ import annotations

import logging
import socket
import time
from http import HTTPStatus
from typing import Any

from waitress.buffers import ReadOnlyFileBasedBuffer
from waitress.channel import HTTPChannel
from waitress.task import ErrorTask, WSGITask

from reelsense.server.process.request_parser import RequestParser, TooSlowError

_log = logging.getLogger(__name__)

# Bytes of a response from which sending starts before the response is complete.
SEND_BYTES = 64 * 1024

# Seconds in which a client can read a response that was sent before its request was complete.
_LINGER = 2.0


class _ResponseTask(WSGITask):  # type: ignore[misc]
    def build_response_header(self) -> bytes:
        if self.channel.server.draining:
            self.set_close_on_finish()
        header: bytes = super().build_response_header()
        return header

    def finish(self) -> None:
        super().finish()
        self.channel.flush()


class _RejectionTask(ErrorTask):  # type: ignore[misc]
    """Error response to a malformed request."""

    def execute(self) -> None:
        error = self.request.error
        headers, body = self.channel.server.reject(HTTPStatus(error.code))
        self.status = f"{error.code} {error.reason}"
        self.response_headers.extend(headers)
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class _LargePart(ReadOnlyFileBasedBuffer):  # type: ignore[misc]
    """A large part of a response, sent without the copy that waitress's own buffers make.

    It is a file buffer because waitress sends those in pieces.
    """

    def __init__(self, data: bytes) -> None:
        self._left = memoryview(data)
        self.size = self.remain = len(data)

    def get(self, numbytes: int = -1, skip: bool = False) -> memoryview:  # noqa: ARG002  # interface
        return self._left

    def skip(self, numbytes: int, allow_prune: int = 0) -> None:  # noqa: ARG002  # interface
        self._left = self._left[numbytes:]
        self.remain = len(self._left)

    def close(self) -> None:
        self._left = memoryview(b"")
        self.remain = 0


class Connection(HTTPChannel):  # type: ignore[misc]
    """A connection. It handles one request at a time, and the next one after its response."""

    task_class, error_task_class, parser_class = _ResponseTask, _RejectionTask, RequestParser

    # Attributes of waitress.
    sent_continue: bool = False
    request: Any = None
    requests: list[Any]
    will_close: bool = False

    # When the first byte of the incoming request arrived; 0 if there is no such request.
    request_start = 0.0
    # Bytes received after the request that is being handled.
    pipelined = b""
    # When to close a connection that only waits for the client to read; 0 if it does not.
    lingers_until = 0.0
    _last_activity = 0.0

    @property
    def last_activity(self) -> float:
        """When data was last sent or received, in monotonic time."""
        return self._last_activity

    @last_activity.setter
    def last_activity(self, _wall_time: float) -> None:
        # waitress sets the wall time, which may jump.
        self._last_activity = time.monotonic()

    @property
    def busy(self) -> bool:
        """Whether a request is incoming or being handled, or a response is being sent."""
        return bool(self.requests or self.request or self.pipelined or self.total_outbufs_len)

    @property
    def timeout_factor(self) -> int:
        """Factor of the time limit for the incoming request.

        It grows with the bytes of an upload that have arrived, not with the announced size.
        """
        received = self.request.body_bytes_received if self.request else 0
        return int(1 + received // self.adj.max_request_body_size)

    @property
    def buffered(self) -> int:
        """Bytes in memory or on disk: of an incoming body and of an unread response."""
        received = self.request.body_bytes_received if self.request else 0
        # A large part stays in memory until its last byte is sent.
        sent = sum(
            part.size - part.remain for part in list(self.outbufs) if isinstance(part, _LargePart)
        )
        return int(received + self.total_outbufs_len + sent)

    def readable(self) -> bool:
        return bool(self.connected and (self.lingers_until or super().readable()))

    def resume_pipelined(self) -> None:
        """Parse the bytes after a request that has been answered."""
        if self.pipelined and self.readable():
            data, self.pipelined = self.pipelined, b""
            self.received(data)

    def handle_read(self) -> None:
        try:
            data = self.recv(self.adj.recv_bytes)  # closes at the end of the stream
        except BlockingIOError:  # the event was that of an earlier connection
            return
        except OSError:
            self.close_now()
            return
        if data:
            self.last_activity = time.time()
            self.server.bytes_received += len(data)
            self.received(data)

    def handle_expt(self) -> None:
        self.close_now()  # on urgent data: HTTP does not use it, and it would wake the loop forever

    def check_client_disconnected(self) -> bool:
        """Return whether the client has disconnected while its request is being handled."""
        open_socket = self.socket
        if not self.connected or open_socket is None:
            return True
        try:
            return not open_socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def writable(self) -> bool:
        if self.lingers_until or not self.connected:
            return False
        if self.requests and not self.will_close:
            # The thread that handles the request sends small responses; the loop would only spin.
            return bool(self.total_outbufs_len >= SEND_BYTES)
        return bool(super().writable())

    def write_soon(self, data: Any) -> int:
        """Send a part of a response; buffer what the client does not read yet.

        Called by the threads that handle requests.
        """
        if isinstance(data, bytes) and len(data) >= SEND_BYTES:
            data = _LargePart(data)
        size: int = super().write_soon(data)
        if self.total_outbufs_len >= SEND_BYTES:
            self.server.wait_for_room()
        return size

    def flush(self) -> None:
        """Send header and body at once, from the thread that handles the request."""
        with self.outbuf_lock:
            if self.connected:
                self._flush_exception(self._flush_some, do_close=False)

    def received(self, data: bytes) -> bool:
        """Parse `data` up to the end of a request; the rest waits until that is answered.

        waitress would handle all pipelined requests, and buffer all of their responses for a client
        that does not read.
        """
        with self.requests_lock:
            closing = self.will_close or self.close_when_flushed or self.lingers_until
            if closing or not self.connected:
                return False
            while data and not self.requests:
                data = self._parse(data)
            self.pipelined = data
        return True

    def _parse(self, data: bytes) -> bytes:
        """Parse what belongs to the incoming request; return the rest of `data`."""
        if self.request is None:
            data = data.lstrip(b"\r\n")  # RFC 9112, 2.2
            if not data:
                return data
            self.request, self.request_start = self.parser_class(self.adj), time.monotonic()
        consumed = self.request.received(data)
        if (
            self.request.expect_continue
            and self.request.headers_finished
            and not self.request.completed
            and not self.sent_continue
        ):
            self.send_continue()
        if self.request.completed:
            self.sent_continue = False
            if not self.request.empty:
                self.requests.append(self.request)
                self.server.add_task(self)
            self.request, self.request_start = None, 0.0
        return data[consumed:]

    def handle_close(self) -> None:
        """Close, but first let a client that is still sending read its response.

        Closing at once would reset the connection and lose the response (RFC 9112, 9.6).
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

    def close_now(self) -> None:
        self.pipelined = b""
        super().handle_close()

    def time_out(self) -> None:
        """Answer the incoming request with 408, because it took too long to arrive."""
        with self.requests_lock:
            request = self.request
            if request is None:
                return
            request.error, request.completed = TooSlowError(""), True
            self.requests.append(request)
            self.request, self.request_start = None, 0.0
            self.server.add_task(self)
