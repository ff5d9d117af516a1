"""Slow, disconnected, numerous and malformed clients on real sockets."""

from __future__ import annotations

import errno
import json
import random
import socket
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest
from flask import Flask, Response, request

from reelsense.server.app import create_app
from reelsense.server.middleware.cross_site import SECURITY_HEADERS
from reelsense.server.process.listener import MAX_HEADER_BYTES
from reelsense.server.settings import Settings
from tests import tiny
from tests.server.conftest import gated, wait_until_ready
from tests.server.listening import answer_to, connect, connect_slow_reader, listening, rest_of
from tests.waiting import wait_until

GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def post(body: bytes, *more: str, length: int | None = None) -> bytes:
    lines = [
        "POST /v1/predict HTTP/1.1",
        "Host: x",
        "Connection: close",
        "Content-Type: application/json",
        f"Content-Length: {len(body) if length is None else length}",
        *more,
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def ready_app(**settings: float) -> Flask:
    app = create_app(Settings.model_validate(settings), tiny.classifier())
    wait_until_ready(app.test_client())
    return app


@pytest.fixture
def port() -> Iterator[int]:
    with listening(ready_app(max_body=1000, read_timeout=0.5)) as (port, _):
        yield port


def problem(answer: bytes) -> tuple[int, str]:
    """Return the status of an answer and the code of its problem document."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"Content-Type: application/problem+json" in head
    document = json.loads(body)
    assert document["status"] == int(head.split()[1])
    assert document["request_id"].encode() in head
    return document["status"], document["code"]


def test_pipelined_requests_are_answered_in_order(port: int) -> None:
    with connect(port) as connection:
        connection.sendall(GET * 3 + post(b'{"text": "good"}'))
        response = rest_of(connection)
    assert response.count(b"HTTP/1.1 200 OK") == 4
    assert response.endswith(b'"tokens":{"total":1,"scored":1}}]}\n')


def test_http_1_0_is_answered(port: int) -> None:
    response = answer_to(port, b"GET /healthz HTTP/1.0\r\n\r\n")
    assert response.startswith(b"HTTP/1.0 200 OK")
    assert b"Connection: close" in response


def test_chunked_body_is_accepted(port: int) -> None:
    head = post(b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    body = b'{"text": "good"}'
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    assert b"200 OK" in answer_to(port, head + chunks)
    assert problem(answer_to(port, head + b"ZZ\r\n")) == (400, "bad-request")
    long = b"200\r\n" + b"a" * 0x200 + b"\r\n"
    assert problem(answer_to(port, head + long * 2)) == (413, "body-too-large")


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"GARBAGE\r\n\r\n", 400, "bad-request"),
        (b"GET /healthz HTTP/1.1\r\nno colon\r\n\r\n", 400, "bad-request"),
        (post(b"", length=-1), 400, "bad-request"),
        (post(b"x" * 1001), 413, "body-too-large"),
        (post(b"", length=10**30), 413, "body-too-large"),
        (GET[:-2] + b"X: " + b"y" * MAX_HEADER_BYTES, 431, "head-too-large"),
        (b"GET /" + b"y" * MAX_HEADER_BYTES, 431, "head-too-large"),
        (post(b"").replace(b"Content-Length: 0", b"Transfer-Encoding: gzip"), 501, "http-error"),
        (post(b"", "Transfer-Encoding: chunked"), 400, "bad-request"),
        (post(b"", "Transfer-Encoding: chunked").replace(b"1.1", b"1.0"), 400, "bad-request"),
        (post(b"").replace(b"h: 0", b"h: " + b"9" * 5000), 400, "bad-request"),
        (GET.replace(b"/healthz", b"http://[bad/"), 400, "bad-request"),
        (b"GET /healthz HTTP/1.1\r\n\r\n", 400, "bad-request"),
        (GET.replace(b"Host: x", b"Host: x\r\nHost: y"), 400, "bad-request"),
    ],
)
def test_malformed_request_gets_problem_document(
    port: int, sent: bytes, status: int, code: str
) -> None:
    answer = answer_to(port, sent)
    assert problem(answer) == (status, code)
    for name, value in SECURITY_HEADERS.items():
        assert f"\r\n{name}: {value}\r\n".encode() in answer


@pytest.mark.parametrize(
    "header",
    [
        b"X: a\r\n b",
        b"X: a\r\n\tb",
        b"X: a\r\n ",
        b"X: a\r\n \r\n b",
        b"X:\r\n a",
        b"Content-Length: 1\r\n 0",
        b"Transfer-Encoding:\r\n chunked",
        b"X: a\n b",
        b"X: a\nY: b",
        b"X: a\r b",
        b"X: a\rY: b",
        b"X : a",
        b"X\t: a",
        b" X: a",
        b"\tX: a",
        b": a",
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_folded_and_malformed_headers_are_rejected(port: int, header: bytes, first: bool) -> None:
    headers = [header, b"Host: x"] if first else [b"Host: x", header]
    answer = answer_to(port, b"\r\n".join([b"GET /healthz HTTP/1.1", *headers, b"", b""]))
    assert problem(answer) == (400, "bad-request")


@pytest.mark.parametrize("end", [b"\n\n", b"\r\r"])
def test_bare_line_ends_after_the_request_line_are_rejected(port: int, end: bytes) -> None:
    request = b"GET /healthz HTTP/1.1" + end[:1] + b"Host: x" + end + b"\r\n\r\n"
    assert problem(answer_to(port, request)) == (400, "bad-request")


def test_tabs_around_a_header_value_are_accepted(port: int) -> None:
    assert b"200 OK" in answer_to(port, LAST.replace(b"Host: x", b"Host:\tx\t"))


def test_problem_document_repeats_nothing_of_malformed_request(
    port: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    secret = b"Authorization: Bearer rs_SECRET\n12:00:00 [error] forged\x1b[31m\r\n"
    answer = answer_to(port, GET[:-2] + secret + b"\r\n")
    assert problem(answer) == (400, "bad-request")
    assert b"SECRET" not in answer
    answer_to(port, b"GE\x1b[31mT /healthz HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert "SECRET" not in caplog.text
    assert "forged" not in caplog.text
    assert "\x1b" not in "".join(record.getMessage() for record in caplog.records)


def test_client_can_read_response_to_too_large_body(port: int) -> None:
    with connect(port) as connection:
        connection.sendall(post(b"x" * 1000, length=50_000_000))
        with suppress(ConnectionError):
            for _ in range(50):
                connection.sendall(b"x" * 1000)
                time.sleep(0.002)
        assert problem(rest_of(connection)) == (413, "body-too-large")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.ENOENT, errno.EROFS, errno.EACCES])
def test_body_that_cannot_be_stored_gets_507(
    code: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:

    def broken() -> None:
        raise OSError(code, "no file today")

    monkeypatch.setattr("waitress.buffers.TempfileBasedBuffer.newfile", lambda _: broken())
    with listening(ready_app(max_body=1000, max_upload=100_000)) as (port, _):
        body = b"text\n" + b"good\n" * 10_000
        head = b"POST /v1/jobs?name=a.csv HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
        assert problem(answer_to(port, head % len(body) + body)) == (507, "storage")
        assert "no file today" in caplog.text


@pytest.mark.parametrize("begun", [b"f;", b"0\r\nX: "], ids=["size", "trailer"])
def test_chunk_overhead_is_limited(port: int, begun: bytes) -> None:
    head = b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert answer_to(port, head + begun + b"a" * 200_000).startswith(b"HTTP/1.1 400 ")


def test_expect_continue_is_answered(port: int) -> None:
    body = b'{"text": "good"}'
    with connect(port) as connection:
        connection.sendall(post(b"", "Expect: 100-continue", length=len(body)))
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert rest_of(connection).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize("begun", [b"G", GET[:-2], post(b'{"te', length=100)])
def test_late_request_gets_408(port: int, begun: bytes) -> None:
    started = time.monotonic()
    assert problem(answer_to(port, begun)) == (408, "request-timeout")
    assert time.monotonic() - started < 5


def test_slow_request_gets_408(port: int) -> None:
    with connect(port) as connection:
        connection.sendall(post(b"", length=900))
        with suppress(ConnectionError):
            for _ in range(40):
                connection.sendall(b" ")
                time.sleep(0.05)
        assert problem(rest_of(connection)) == (408, "request-timeout")


def test_slow_senders_hold_no_thread(port: int) -> None:
    slow = [connect(port) for _ in range(300)]
    try:
        for connection in slow:
            connection.sendall(post(b"{", length=100))
        started = time.monotonic()
        assert b"200 OK" in answer_to(port, post(b'{"text": "good"}'))
        assert time.monotonic() - started < 2
    finally:
        for connection in slow:
            connection.close()


def test_excess_connection_closes_least_recently_active_one() -> None:
    with listening(ready_app(max_connections=3)) as (port, _):
        first, *others = [connect(port) for _ in range(3)]
        for connection in others:
            connection.sendall(GET)
            assert b"200 OK" in connection.recv(4096)
        assert b"200 OK" in answer_to(port, LAST)
        assert first.recv(10) == b""
        others[0].sendall(LAST)
        assert b"200 OK" in rest_of(others[0])
        for connection in (first, *others):
            connection.close()


def test_slow_readers_hold_no_thread() -> None:
    app = create_app(Settings(max_concurrent_requests=1), tiny.classifier())
    app.add_url_rule("/large", view_func=lambda: Response(b"x" * 6_000_000))
    wait_until_ready(app.test_client())
    with listening(app) as (port, _):
        slow = []
        for _ in range(40):  # more than there are threads
            connection = connect_slow_reader(port)
            connection.sendall(LAST.replace(b"/healthz", b"/large"))
            slow.append(connection)
        assert b"200 OK" in answer_to(port, post(b'{"text": "good"}'))
        whole = rest_of(slow[0])
        assert whole.endswith(b"x" * 6_000_000)
        for connection in slow:
            connection.close()


def test_client_that_does_not_read_has_one_request_handled() -> None:
    handled = []

    def large() -> Response:
        handled.append(1)
        return Response(b"x" * 4_000_000)

    app = create_app(Settings(max_concurrent_requests=1), tiny.classifier())
    app.add_url_rule("/large", view_func=large)
    wait_until_ready(app.test_client())
    with listening(app) as (port, _), ExitStack() as stack:
        for _ in range(40):  # more than there are threads
            connection = stack.enter_context(connect_slow_reader(port))
            connection.sendall(GET.replace(b"/healthz", b"/large") * 50)
        assert b"200 OK" in answer_to(port, post(b'{"text": "good"}'))
        wait_until(lambda: len(handled) == 40)
        time.sleep(0.2)
        assert len(handled) == 40


def test_unread_response_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reelsense.server.process.listener._STALLED_TIMEOUT", 0.3)
    app = create_app(Settings(), tiny.classifier())
    app.add_url_rule("/large", view_func=lambda: Response(b"x" * 9_000_000))
    with listening(app) as (port, connections), connect_slow_reader(port) as connection:
        connection.sendall(GET.replace(b"/healthz", b"/large"))
        wait_until(lambda: connections.count == 1)
        wait_until(lambda: connections.count == 0)


@pytest.mark.parametrize("jump", [-1e6, 1e6])
def test_change_of_wall_time_closes_no_connection(
    jump: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = create_app(Settings(), tiny.classifier())
    app.add_url_rule("/large", view_func=lambda: Response(b"x" * 9_000_000))
    real_time = time.time
    with listening(app) as (port, _), connect_slow_reader(port) as connection:
        connection.sendall(LAST.replace(b"/healthz", b"/large"))
        connection.recv(1)
        time.sleep(0.2)  # until all buffers are full
        monkeypatch.setattr("time.time", lambda: real_time() + jump)
        time.sleep(1.5)
        assert rest_of(connection).endswith(b"x" * 9_000_000)


def test_buffered_bodies_are_limited(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("reelsense.server.process.listener._MAX_BUFFERED", 3_000_000)
    with listening(ready_app(max_upload=1)) as (port, connections), ExitStack() as stack:
        for _ in range(8):
            connection = stack.enter_context(connect(port))
            with suppress(ConnectionError):  # the server may close it already
                connection.sendall(post(b"x" * 900_000, length=1_000_000))
        wait_until(lambda: connections.count <= 3)
        time.sleep(1.2)
        assert connections.count == 3


def test_buffered_bodies_are_limited_between_checks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("reelsense.server.process.listener._MAX_BUFFERED", 3_000_000)
    monkeypatch.setattr(
        "reelsense.server.process.listener._Listener._enforce_timeouts", lambda *_: None
    )
    with listening(ready_app(max_upload=1)) as (port, connections), ExitStack() as stack:
        for _ in range(8):
            connection = stack.enter_context(connect(port))
            with suppress(ConnectionError):  # the server may close it already
                connection.sendall(post(b"x" * 900_000, length=1_000_000))
        wait_until(lambda: connections.count <= 3)


@pytest.mark.parametrize("streamed", [False, True])
def test_unread_responses_are_limited(streamed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    bound, size, chunk = 25_000_000, 5_000_000, 100_000
    written = []

    def large() -> Iterator[bytes]:
        if streamed:
            yield from (b"x" * chunk for _ in range(size // chunk))
        else:
            yield b"x" * size
        written.append(1)

    monkeypatch.setattr("reelsense.server.process.listener._MAX_BUFFERED", bound)
    monkeypatch.setattr(
        "reelsense.server.process.listener._Listener._enforce_timeouts", lambda *_: None
    )
    app = create_app(Settings(max_upload=1), tiny.classifier())
    app.add_url_rule("/large", view_func=lambda: Response(large()))
    with listening(app) as (port, connections), ExitStack() as stack:
        tracemalloc.start()
        stack.callback(tracemalloc.stop)
        for number in range(1, 31):
            connection = stack.enter_context(connect_slow_reader(port))
            connection.sendall(GET.replace(b"/healthz", b"/large"))
            wait_until(lambda: len(written) == number)  # noqa: B023  # it does not outlive the turn
        assert tracemalloc.get_traced_memory()[0] < bound + size
        assert 0 < connections.count < 30
        assert b"200 OK" in answer_to(port, LAST)


def test_slow_reader_gets_every_byte_in_order() -> None:
    numbers = random.Random(7)
    parts = [numbers.randbytes(numbers.choice([1, 900, 70_000, 1_500_000])) for _ in range(12)]
    size = {"Content-Length": str(sum(map(len, parts)))}
    app = create_app(Settings(), tiny.classifier())
    app.add_url_rule("/whole", "whole", lambda: Response(b"".join(parts)))
    app.add_url_rule("/parts", "parts", lambda: Response(iter(parts), headers=size))
    with listening(app) as (port, _):
        for path in (b"/whole", b"/parts"):
            with connect_slow_reader(port) as connection:
                connection.sendall(LAST.replace(b"/healthz", path))
                time.sleep(0.2)
                assert rest_of(connection).partition(b"\r\n\r\n")[2] == b"".join(parts)


def test_full_queue_rejects_at_once() -> None:
    app, gate = gated(max_concurrent_requests=2)
    load_shedder = app.extensions["reelsense"].load_shedder
    with listening(app) as (port, _), ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(connect(port)).sendall(post(b'{"text": "good"}'))
        wait_until(lambda: load_shedder.requests == 2)
        try:
            assert problem(answer_to(port, post(b'{"text": "bad"}'))) == (429, "overloaded")
            assert b"200 OK" in answer_to(port, LAST)
        finally:
            gate.open.set()


def test_disconnected_request_skips_forward_pass() -> None:
    app, gate = gated()
    load_shedder = app.extensions["reelsense"].load_shedder
    with listening(app) as (port, _):
        with connect(port) as first:
            first.sendall(post(b'{"text": "good"}'))
            wait_until(lambda: gate.rows == 1)
            with connect(port) as gone:
                gone.sendall(post(json.dumps({"texts": ["bad"] * 50}).encode()))
                wait_until(lambda: load_shedder.requests == 2)
                time.sleep(0.1)
            time.sleep(0.2)
            gate.open.set()
            assert b"200 OK" in rest_of(first)
        wait_until(lambda: load_shedder.requests == 0)
        assert gate.rows == 1
        counted = app.extensions["reelsense"].metrics.render()
        assert b"reelsense_abandoned_total 1.0" in counted
        assert b'route="/v1/predict",status="499"' in counted


def test_disconnected_client_skips_its_pipelined_requests() -> None:
    app, gate = gated()
    load_shedder = app.extensions["reelsense"].load_shedder
    with listening(app) as (port, connections):
        with connect(port) as gone:
            one = post(b'{"text": "good"}').replace(b"Connection: close\r\n", b"")
            gone.sendall(one * 50)
            wait_until(lambda: gate.rows == 1)
        time.sleep(0.1)
        gate.open.set()
        wait_until(lambda: connections.count == 0)
        wait_until(lambda: load_shedder.requests == 0)
    assert gate.rows <= 2


def test_expired_request_skips_forward_pass() -> None:
    app, gate = gated(deadline=0.3)
    with listening(app) as (port, _):
        with connect(port) as first, connect(port) as second:
            first.sendall(post(b'{"text": "good"}'))
            wait_until(lambda: gate.rows == 1)
            second.sendall(post(b'{"text": "bad"}'))
            assert problem(rest_of(second)) == (504, "deadline-exceeded")
            assert problem(rest_of(first)) == (504, "deadline-exceeded")
        gate.open.set()
        assert b"200 OK" in answer_to(port, post(b'{"text": "good"}'))
        assert gate.rows == 2


def test_drain_answers_accepted_requests_only() -> None:
    app, gate = gated()
    block = listening(app)
    port, _ = block.__enter__()
    ending = threading.Thread(target=block.__exit__, args=(None, None, None))
    with connect(port) as idle, connect(port) as busy, connect(port) as partial:
        busy.sendall(post(b'{"text": "good"}').replace(b"Connection: close\r\n", b""))
        partial.sendall(post(b'{"text"', length=15))
        idle.sendall(GET)
        assert b"200 OK" in idle.recv(4096)
        wait_until(lambda: gate.rows == 1)
        ending.start()
        time.sleep(0.3)
        with pytest.raises(ConnectionError):
            connect(port)
        idle.sendall(GET)
        late = rest_of(idle)
        assert b"200 OK" in late
        assert b"Connection: close" in late
        partial.sendall(b': "bad"}')
        gate.open.set()
        answer = rest_of(busy)
        assert b"Connection: close" in answer
        assert b'"label":"positive"' in answer
        assert b'"label":"negative"' in rest_of(partial)
    ending.join(20)
    assert not ending.is_alive()


def test_application_sees_complete_bodies_only() -> None:
    app = create_app(Settings(), tiny.classifier())

    def length() -> dict[str, int | None]:
        return {"announced": request.content_length, "read": len(request.get_data())}

    app.add_url_rule("/length", view_func=length, methods=["POST"])
    with listening(app) as (port, _):
        head = post(b"", length=1_500_000).replace(b"/v1/predict", b"/length")
        assert b'{"announced":1500000,"read":1500000}' in answer_to(port, head + b"x" * 1_500_000)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (GET[:-2], 200),
        (post(b"", length=10**9)[:-2], 413),
        (post(b"", length=-1)[:-2], 400),
    ],
)
def test_expect_continue_is_rejected_for_unwanted_body(port: int, head: bytes, status: int) -> None:
    with connect(port) as connection:
        connection.sendall(head + b"Expect: 100-continue\r\n\r\n")
        assert int(connection.recv(4096).split()[1]) == status


def test_empty_line_between_requests_is_ignored(port: int) -> None:
    with connect(port) as connection:
        connection.sendall(GET + b"\r\n")
        assert b"200 OK" in connection.recv(4096)
        time.sleep(2)  # longer than a request may take to arrive
        connection.sendall(LAST)
        assert rest_of(connection).startswith(b"HTTP/1.1 200 OK")


def test_pipelined_request_in_two_parts_is_answered_at_once(port: int) -> None:
    with connect(port) as connection:
        connection.sendall(GET + LAST[:20])
        assert b"200 OK" in connection.recv(4096)
        time.sleep(0.1)
        started = time.monotonic()
        connection.sendall(LAST[20:])
        assert b"200 OK" in rest_of(connection)
        assert time.monotonic() - started < 0.5


def test_urgent_data_closes_connection(port: int) -> None:
    with connect(port) as connection:
        connection.send(b"x", socket.MSG_OOB)
        with suppress(ConnectionResetError):
            assert connection.recv(10) == b""
    assert b"200 OK" in answer_to(port, LAST)


def test_stalled_connection_with_pipelined_request_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("reelsense.server.process.listener._STALLED_TIMEOUT", 0.2)
    app = create_app(Settings(), tiny.classifier())
    app.add_url_rule("/large", view_func=lambda: Response(b"x" * 6_000_000))
    wait_until_ready(app.test_client())
    large = GET.replace(b"/healthz", b"/large")
    more = post(b"", "Expect: 100-continue", length=10)
    with listening(app) as (port, connections), ExitStack() as stack:
        for _ in range(3):
            connection = stack.enter_context(connect_slow_reader(port))
            connection.sendall(large + more)
        wait_until(lambda: connections.count == 3)
        wait_until(lambda: connections.count == 0)
        assert b"200 OK" in answer_to(port, LAST)


def test_client_among_many_connections_is_served(port: int) -> None:
    """New connections get the file descriptors of closed ones, but not their events."""
    with ExitStack() as stack:
        for _ in range(300):
            lingering = stack.enter_context(connect(port))
            lingering.sendall(LAST)
            assert b"200 OK" in answer_to(port, LAST)
        time.sleep(2)  # until the lingering connections are closed
        for _ in range(300):
            assert b"200 OK" in answer_to(port, LAST)
