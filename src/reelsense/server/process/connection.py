"""One connection: what is read of it, what is sent, and how it ends.

waitress's own, with what it lacks for clients that mean harm. Knows HTTP; knows neither how many
connections there are nor what is answered.
"""

from __future__ import annotations

import logging
import socket
import time
from http import HTTPStatus
from typing import Any

from waitress.buffers import ReadOnlyFileBasedBuffer
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.task import ErrorTask, WSGITask
from waitress.utilities import BadRequest, Error

_log = logging.getLogger(__name__)

MUCH = 64 * 1024
"""Bytes of an answer that are sent before it is complete."""

_BESIDE = 64 * 1024
"""Bytes that tell the size of a chunk, or come behind the last. waitress looks through all of them
again whenever more arrive, in the loop."""

_LINGER = 2.0
"""Seconds in which a client may read the answer to a request that was not read to its end."""


UPLOADS = {"/v1/jobs", "/jobs"}
"""Where files are posted, which may be larger than other bodies and take longer."""


class _TooSlowError(Error):  # type: ignore[misc]  # waitress ships no types
    code, reason = 408, "Request Timeout"


class _NoRoomError(Error):  # type: ignore[misc]
    code, reason = 507, "Insufficient Storage"


class _Request(HTTPRequestParser):  # type: ignore[misc]
    """A request that is arriving. What waitress stumbles over or lets pass is refused with 400."""

    adj: Any

    def received(self, data: bytes) -> int:
        try:
            taken: int = super().received(data)
        except ValueError:  # a length of 5,000 digits, an address with half a bracket
            self.error, self.completed = BadRequest(""), True
            return len(data)
        except OSError as error:  # a large body is kept in a file
            _log.warning("a body cannot be kept while it arrives: %s", error)
            self.error, self.completed = _NoRoomError(""), True
            return len(data)
        arriving = self.body_rcv if self.chunked else None
        if arriving is not None and len(arriving.control_line + arriving.trailer) > _BESIDE:
            self.error, self.completed = BadRequest(""), True
            return len(data)
        return taken

    def parse_header(self, header_plus: bytes) -> None:
        # waitress joins folded lines; whatever is in front may not (RFC 9112, 5.2).
        if b"\r\n " in header_plus or b"\r\n\t" in header_plus:
            raise ParsingError("folded header")
        super().parse_header(header_plus)
        if self.command == "POST" and self.path in UPLOADS:
            self.adj = self.adj.of_uploads
        # Two ways to tell where a body ends, or one that HTTP/1.0 does not know: what is in front
        # may have seen another end (RFC 9112, 6.1).
        coded = self.chunked or "TRANSFER_ENCODING" in self.headers
        if coded and (self.version != "1.1" or "CONTENT_LENGTH" in self.headers):
            raise ParsingError("ambiguous")
        host = self.headers.get("HOST")  # of several, with commas (RFC 9112, 3.2)
        if self.version == "1.1" and (host is None or "," in host):
            raise ParsingError("not one Host")


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
        headers, body = self.channel.server.reject(HTTPStatus(error.code))
        self.status = f"{error.code} {error.reason}"
        self.response_headers.extend(headers)
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class _Part(ReadOnlyFileBasedBuffer):  # type: ignore[misc]
    """A large part of a response, sent from where it is; waitress' own buffers would copy it.

    waitress sends it like a file, its other kind of part.
    """

    def __init__(self, data: bytes) -> None:
        self._left = memoryview(data)
        self.size = self.remain = len(data)

    def get(self, numbytes: int = -1, skip: bool = False) -> memoryview:  # noqa: ARG002  # as called
        return self._left

    def skip(self, numbytes: int, allow_prune: int = 0) -> None:  # noqa: ARG002  # as called
        self._left = self._left[numbytes:]
        self.remain = len(self._left)

    def close(self) -> None:
        self._left = memoryview(b"")
        self.remain = 0


class Connection(HTTPChannel):  # type: ignore[misc]
    """A connection. It has one request in hand at a time, and one answer to be read."""

    task_class, error_task_class, parser_class = _Answer, _Refusal, _Request

    # These are waitress's.
    sent_continue: bool = False
    request: Any = None
    requests: list[Any]
    will_close: bool = False

    begun = 0.0
    """When the first byte of the request that is arriving came; 0: none is."""
    rest = b""
    """What was sent behind the request that is in hand."""
    lingers_until = 0.0
    _moved = 0.0

    @property
    def last_activity(self) -> float:
        """When something last moved."""
        return self._moved

    @last_activity.setter
    def last_activity(self, _time_of_day: float) -> None:
        # waitress gives the time of day, which may jump.
        self._moved = time.monotonic()

    @property
    def busy(self) -> bool:
        """Whether a request is arriving or in hand, or an answer is being sent."""
        return bool(self.requests or self.request or self.rest or self.total_outbufs_len)

    @property
    def times(self) -> int:
        """How many times as long as others the request may take that is arriving.

        What of a file has arrived, not what is announced, gives it time for more.
        """
        arrived = self.request.body_bytes_received if self.request else 0
        return int(1 + arrived // self.adj.max_request_body_size)

    @property
    def between(self) -> int:
        """The bytes that are held for it: of a body that arrives, of an answer not yet read."""
        arrived = self.request.body_bytes_received if self.request else 0
        # A part is held as a whole until its last byte is sent.
        sent = sum(
            each.size - each.remain for each in list(self.outbufs) if isinstance(each, _Part)
        )
        return int(arrived + self.total_outbufs_len + sent)

    def readable(self) -> bool:
        """Say whether to read on."""
        return bool(self.connected and (self.lingers_until or super().readable()))

    def take_up_rest(self) -> None:
        """Begin with what was sent behind a request, once that is answered."""
        if self.rest and self.readable():
            rest, self.rest = self.rest, b""
            self.received(rest)

    def handle_read(self) -> None:
        """Read. That there is nothing is no reason to close: the event may be an older one's."""
        try:
            data = self.recv(self.adj.recv_bytes)  # which closes at the end of what is sent
        except BlockingIOError:
            return
        except OSError:
            self.cut()
            return
        if data:
            self.last_activity = time.time()
            self.server.arrived += len(data)
            self.received(data)

    def handle_expt(self) -> None:
        """Close on urgent data, which nobody asks for and which would wake the loop for ever."""
        self.cut()

    def check_client_disconnected(self) -> bool:
        """Say whether the client has gone. Nothing is read while its request is in hand."""
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
        """Say whether the loop is to send."""
        if self.lingers_until or not self.connected:
            return False
        if self.requests and not self.will_close:
            # The thread in hand sends; this loop would only spin beside it.
            return bool(self.total_outbufs_len >= MUCH)
        return bool(super().writable())

    def write_soon(self, data: Any) -> int:
        """Send a part of a response; buffer what the client does not take yet.

        Called by the threads that answer.
        """
        if isinstance(data, bytes) and len(data) >= MUCH:
            data = _Part(data)
        size: int = super().write_soon(data)
        if self.total_outbufs_len >= MUCH:
            self.server.make_room()
        return size

    def flush(self) -> None:
        """Send what there is, from the thread that made it: head and body at once."""
        with self.outbuf_lock:
            if self.connected:
                self._flush_exception(self._flush_some, do_close=False)

    def received(self, data: bytes) -> bool:
        """Take `data`, of which what comes after a request waits until that is answered.

        waitress would begin with all of them, and keep all of their answers for who does not read.
        """
        with self.requests_lock:
            closing = self.will_close or self.close_when_flushed or self.lingers_until
            if closing or not self.connected:
                return False
            while data and not self.requests:
                data = self._take(data)
            self.rest = data
        return True

    def _take(self, data: bytes) -> bytes:
        """Take what belongs to the request that is arriving; return the rest of `data`."""
        if self.request is None:
            data = data.lstrip(b"\r\n")  # RFC 9112, 2.2
            if not data:
                return data
            self.request, self.begun = self.parser_class(self.adj), time.monotonic()
        taken = self.request.received(data)
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
            self.request, self.begun = None, 0.0
        return data[taken:]

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
        self.rest = b""
        super().handle_close()

    def give_up(self) -> None:
        """Answer that the request took too long to arrive."""
        with self.requests_lock:
            request = self.request
            if request is None:
                return
            request.error, request.completed = _TooSlowError(""), True
            self.requests.append(request)
            self.request, self.begun = None, 0.0
            self.server.add_task(self)
