"""Compressed request bodies (Content-Encoding), decompressed while they are read."""

from __future__ import annotations

import io
import zlib
from typing import IO, Any, cast

from flask import Flask, request
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge, UnsupportedMediaType
from werkzeug.wrappers import Request
from werkzeug.wsgi import get_input_stream

_GZIP, _DEFLATE = "gzip", "deflate"
_CODINGS = {"gzip": _GZIP, "x-gzip": _GZIP, "deflate": _DEFLATE}  # RFC 9110, 8.4.1

# Compressed bytes that are decompressed at once. zlib copies the rest at the end of a gzip member,
# and a body may consist of empty members of 20 bytes.
_CHUNK = 2048

_MAX_SHOWN = 100  # characters of an unsupported value in the error


class _UnsupportedEncodingError(UnsupportedMediaType):
    def get_headers(self, *args: Any, **kwargs: Any) -> list[tuple[str, str]]:
        # RFC 9110, 12.5.3
        return [*super().get_headers(*args, **kwargs), ("Accept-Encoding", "gzip, deflate")]


def register(app: Flask) -> None:
    """Let `app` accept compressed bodies, and reject those with an unsupported encoding."""
    app.before_request(_decode)


def _decode() -> None:
    value = request.headers.get("Content-Encoding", "").strip()
    if value.lower() in ("", "identity"):
        return
    coding = _CODINGS.get(value.lower())
    if coding is None:
        raise _UnsupportedEncodingError(
            f'unsupported header Content-Encoding "{value[:_MAX_SHOWN]}": expected gzip, deflate '
            "or identity"
        )
    # Replaces a cached property: everything that reads the body uses it.
    request.stream = cast(IO[bytes], _DecodedBody(request, coding))


def body_size() -> int:
    """Return the size of the body of the current request, decompressed.

    Reads compressed bodies. 0 without a Content-Length; a web server that buffers bodies sets it.
    """
    if isinstance(request.__dict__.get("stream"), _DecodedBody):
        return len(request.get_data())
    return request.content_length or 0


class _DecodedBody(io.RawIOBase):
    """The decompressed body of a request; at most its `max_content_length` bytes.

    Reading raises BadRequest if the body is damaged or incomplete.
    """

    def __init__(self, of: Request, coding: str) -> None:
        self._request, self._coding = of, coding
        self._source: IO[bytes] = get_input_stream(of.environ)
        self._decompressor: Any = None
        self._rest = b""  # compressed
        self._size = 0  # bytes returned so far

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._decompress(len(buffer))
        self._size += len(data)
        limit = self._request.max_content_length  # read here, because views change it
        if limit is not None and self._size > limit:
            raise RequestEntityTooLarge
        buffer[: len(data)] = data
        return len(data)

    def _decompress(self, size: int) -> bytes:
        """Return the next bytes, at most `size`; none at the end."""
        while True:
            compressed = self._rest or self._source.read(_CHUNK)
            if compressed and (self._decompressor is None or self._decompressor.eof):
                # The first gzip member, or another one: RFC 1952 allows several.
                self._decompressor = zlib.decompressobj(_window_bits(self._coding, compressed))
            if self._decompressor is None:  # the body is empty
                return b""
            try:
                data: bytes = self._decompressor.decompress(compressed, size)
            except zlib.error as error:
                raise self._invalid(f"is not valid ({error})") from error
            self._rest = self._decompressor.unconsumed_tail or self._decompressor.unused_data
            if data:
                return data
            if not compressed:
                if not self._decompressor.eof:
                    raise self._invalid("is incomplete")
                return b""

    def _invalid(self, reason: str) -> BadRequest:
        return BadRequest(
            f"the body does not match the header Content-Encoding: the {self._coding} data {reason}"
        )


def _window_bits(coding: str, start: bytes) -> int:
    """Return the argument of zlib for data that begins with `start`."""
    if coding == _GZIP:
        return zlib.MAX_WBITS | 16
    # Some clients omit the zlib header. It is a multiple of 31 (RFC 1950, 2.2).
    has_header = start[0] & 15 == zlib.DEFLATED and int.from_bytes(start[:2]) % 31 == 0
    return zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS
