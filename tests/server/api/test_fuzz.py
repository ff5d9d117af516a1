"""Random requests get no 5xx, do not hang, and do not stop the server."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reelsense.server.app import create_app
from reelsense.server.settings import Settings
from tests import tiny
from tests.server.conftest import wait_until_ready
from tests.server.listening import answer_to, connect, listening

PATHS = [
    *(
        "/",
        "/v1/predict",
        "/predict",
        "/invocations",
        "/v1/classify",
        "/models/default",
        "/v2/models/default/infer",
        "/v1/info",
    ),
    *("/sign-in", "/metrics", "/admin/reload", "/openapi.json", "/static/review.js", "/healthz"),
    *("*", "//", "/%00", "/..;/", "/\xff", "http://x:99999/", "/v1/predict?sentence=%ff"),
]
HEADERS = [
    *(
        "Host: x",
        "Host: [::1",
        "Content-Type: application/json",
        "Content-Type: multipart/form-data",
    ),
    *("Content-Type: application/x-www-form-urlencoded", "Content-Length: 0", "Content-Length: 5"),
    *(
        "Content-Length: 1e3",
        "Content-Length: -1",
        "Transfer-Encoding: chunked",
        "Expect: 100-continue",
    ),
    *(
        "Transfer-Encoding: chunked, identity",
        "Connection: close",
        "Connection: Upgrade",
        "Upgrade: h2c",
    ),
    *(
        "Authorization: Bearer",
        "Authorization: Bearer \xff",
        "Authorization: Basic Og==",
        "Cookie: reelsense=x",
    ),
    *("X-Request-ID: a", "X-Forwarded-For: 1, 2", "Range: bytes=5-1", "If-Modified-Since: never"),
    *(
        "Origin: null",
        "Sec-Fetch-Site: cross-site",
        "Accept-Encoding: \x01",
        " folded",
        "no colon",
        ": x",
    ),
    *("Access-Control-Request-Method: POST", "If-None-Match: *", "Forwarded: for=_x"),
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["text", "texts", "risk", "strict", "inputs", "parameters", "data", "x"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Draw a request that is often malformed."""
    method = draw(
        st.sampled_from(["GET", "POST", "HEAD", "OPTIONS", "PUT", "TRACE", "get", "\x00"])
    )
    version = draw(st.sampled_from(["HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/9", ""]))
    end = draw(st.sampled_from(["\r\n", "\r\n", "\r\n", "\n", "\r"]))
    headers = draw(st.lists(st.sampled_from(HEADERS), max_size=6))
    body = draw(st.binary(max_size=40) | JSON.map(lambda made: json.dumps(made).encode()))
    if draw(st.booleans()):
        headers += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    if draw(st.integers(0, 3)) == 0:
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    lines = [f"{method} {draw(st.sampled_from(PATHS))} {version}", *headers, "", ""]
    return end.join(lines).encode("latin-1") + body


@st.composite
def good_requests(draw: st.DrawFn) -> bytes:
    """Draw a well-formed request with any JSON body."""
    body = json.dumps(draw(JSON)).encode()
    head = f"POST {draw(st.sampled_from(PATHS[1:5]))} HTTP/1.1\r\nHost: x\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


ANYTHING = st.binary(max_size=300) | requests() | good_requests()

STATUSES: Counter[int] = Counter()  # of all responses


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    app = create_app(Settings(read_timeout=0.5, max_body=5000), tiny.classifier())
    wait_until_ready(app.test_client())
    with listening(app) as (port, _):
        yield port
    assert len(STATUSES) >= 4  # not all requests were rejected early


def send(port: int, sent: bytes) -> None:
    """Check that all responses to `sent` have a status below 500, and that the server is alive."""
    received = b""
    with connect(port) as connection, suppress(ConnectionError, TimeoutError):
        connection.sendall(sent)
        connection.settimeout(0.1)  # incomplete requests get no response
        while part := connection.recv(65536):
            received += part
    for status in map(int, re.findall(rb"^HTTP/1\.[01] (\d+) ", received, re.MULTILINE)):
        STATUSES[status] += 1
        assert status < 500 or status == 501, received  # 501: unknown transfer coding
    alive = answer_to(port, b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert alive.startswith(b"HTTP/1.1 200 OK")


LIMITS = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
MANY = settings(LIMITS, max_examples=2000)


@LIMITS
@given(ANYTHING)
def test_server_survives_random_bytes(port: int, sent: bytes) -> None:
    send(port, sent)


@LIMITS
@given(st.lists(requests() | good_requests(), min_size=2, max_size=4).map(b"".join))
def test_server_survives_random_requests_on_one_connection(port: int, sent: bytes) -> None:
    send(port, sent)


@pytest.mark.slow
@MANY
@given(st.lists(ANYTHING, min_size=1, max_size=3).map(b"".join))
def test_server_survives_thousands_of_random_bytes(port: int, sent: bytes) -> None:
    send(port, sent)
