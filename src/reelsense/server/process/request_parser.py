"""Parse incoming HTTP requests: waitress's parser, with protection against malformed requests."""

from __future__ import annotations

import logging
import re
from typing import Any

from waitress.parser import HTTPRequestParser, ParsingError
from waitress.utilities import BadRequest, Error

_log = logging.getLogger(__name__)

# Maximum bytes of a chunk's size line or of the trailer: waitress rescans them on every read.
_MAX_CHUNK_OVERHEAD = 64 * 1024

# Paths of file uploads, which may be larger than other bodies and may take longer.
_UPLOADS = ("/jobs", "/v1/preview")  # a path prefix may come first

_TRANSFER_ENCODING = re.compile(rb"^transfer-encoding[ \t]*:(.*)$", re.IGNORECASE | re.MULTILINE)


class TooSlowError(Error):  # type: ignore[misc]  # waitress has no type hints
    """A request took too long to arrive."""

    code, reason = 408, "Request Timeout"


class _StorageFullError(Error):  # type: ignore[misc]
    code, reason = 507, "Insufficient Storage"


class RequestParser(HTTPRequestParser):  # type: ignore[misc]
    """An incoming request. Rejects what waitress crashes on or accepts against the standard."""

    adj: Any

    def received(self, data: bytes) -> int:
        try:
            consumed: int = super().received(data)
        except ValueError:  # such as a Content-Length of 5,000 digits
            return self._fail(BadRequest(""), data)
        except OSError as error:  # large bodies are buffered on disk
            _log.warning("cannot store a request body: %s", error)
            return self._fail(_StorageFullError(""), data)
        chunks = self.body_rcv if self.chunked else None
        if chunks is not None and len(chunks.control_line + chunks.trailer) > _MAX_CHUNK_OVERHEAD:
            return self._fail(BadRequest(""), data)
        return consumed

    def _fail(self, error: Error, data: bytes) -> int:
        self.error, self.completed = error, True
        return len(data)

    def parse_header(self, header_plus: bytes) -> None:
        # waitress joins folded lines, but a proxy may not (RFC 9112, 5.2).
        if b"\r\n " in header_plus or b"\r\n\t" in header_plus:
            raise ParsingError("obsolete header folding is not supported")
        super().parse_header(header_plus)
        if self.command == "POST" and self.path.endswith(_UPLOADS):
            self.adj = self.adj.for_uploads
        # Request smuggling: with two lengths of the body, or one that HTTP/1.0 does not know, a
        # proxy may have seen another end of the request (RFC 9112, 6.1).
        codings = _TRANSFER_ENCODING.findall(header_plus)  # waitress removes some of these lines
        if codings and [coding.strip().lower() for coding in codings] != [b"chunked"]:
            raise ParsingError("expected Transfer-Encoding: chunked, once")
        encoded = self.chunked or bool(codings)
        if encoded and (self.version != "1.1" or "CONTENT_LENGTH" in self.headers):
            raise ParsingError("ambiguous body length")
        host = self.headers.get("HOST")  # several are joined with commas (RFC 9112, 3.2)
        if self.version == "1.1" and (host is None or "," in host):
            raise ParsingError("expected exactly one Host header")
