"""Compressed bodies of requests."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge
from werkzeug.test import EnvironBuilder, TestResponse
from werkzeug.wrappers import Request

from reelsense.server.middleware.content_encoding import _DecodedBody
from tests.server.conftest import Make, gated
from tests.server.listening import answer_to, listening
from tests.server.process.test_connections import post as raw_post
from tests.server.secured import KEYS, SHOP, bearer, problem_code, ready_app


def raw_deflate(body: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(body) + compressor.flush()


COMPRESS: dict[str, list[Callable[[bytes], bytes]]] = {
    "gzip": [gzip.compress],
    "deflate": [zlib.compress, raw_deflate],
}
BODY = b'{"text": "a good film"}'
MAX_BODY = 5000


def send(
    client: FlaskClient,
    body: bytes,
    encoding: str,
    path: str = "/v1/predict",
    media_type: str = "application/json",
) -> TestResponse:
    headers = {"Content-Encoding": encoding}
    return client.post(path, data=body, content_type=media_type, headers=headers)


@pytest.fixture
def app() -> Flask:
    return ready_app(max_body=MAX_BODY)


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(BODY, mtime=0)),
        ("GZIP", gzip.compress(BODY, mtime=0)),
        ("x-gzip", gzip.compress(BODY, mtime=0)),
        (
            "gzip",
            gzip.compress(BODY[:5], mtime=0)
            + gzip.compress(BODY[5:], mtime=0)
            + gzip.compress(b"", mtime=0),
        ),
        ("deflate", zlib.compress(BODY)),
        ("deflate", raw_deflate(BODY)),
        ("identity", BODY),
        ("", BODY),
    ],
)
def test_compressed_body_is_accepted(client: FlaskClient, encoding: str, body: bytes) -> None:
    expected = client.post("/v1/predict", json=json.loads(BODY)).get_json()
    assert send(client, body, encoding).get_json() == expected


@pytest.mark.parametrize(
    ("path", "media_type", "body"),
    [
        ("/predict", "application/json", b'{"inputs": "good"}'),
        ("/models/default", "application/json", b'{"inputs": "good"}'),
        ("/answer", "application/x-www-form-urlencoded", b"text=good"),
        (
            "/answer",
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="text"\r\n\r\ngood\r\n--x--\r\n',
        ),
    ],
)
def test_every_route_accepts_compressed_body(
    client: FlaskClient, path: str, media_type: str, body: bytes
) -> None:
    answer = send(client, gzip.compress(body, mtime=0), "gzip", path, media_type)
    assert answer.status_code == 200
    assert "positive" in answer.text


@pytest.mark.parametrize(
    "value", ["br", "zstd", "compress", "gzip, gzip", "gzip,identity", "x" * 9000]
)
@pytest.mark.parametrize("path", ["/v1/predict", "/v1/jobs?name=a.csv", "/answer"])
def test_unsupported_encoding_is_rejected(client: FlaskClient, path: str, value: str) -> None:
    answer = send(client, BODY, value, path)
    assert (answer.status_code, problem_code(answer)) == (415, "unsupported-media-type")
    assert answer.headers["Accept-Encoding"] == "gzip, deflate"
    detail = answer.get_json()["detail"]
    assert f'Content-Encoding "{value[:100]}"' in detail
    assert len(detail) < 300


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", BODY),
        ("gzip", zlib.compress(BODY)),
        ("gzip", gzip.compress(BODY, mtime=0)[:-1]),
        ("gzip", gzip.compress(BODY, mtime=0)[:12]),
        ("gzip", gzip.compress(BODY, mtime=0)[:-8] + bytes(8)),  # wrong checksum
        ("gzip", gzip.compress(BODY, mtime=0) + b"more"),
        ("deflate", gzip.compress(BODY, mtime=0)),
        ("deflate", zlib.compress(BODY)[:-1]),
        ("deflate", raw_deflate(BODY)[:-1]),
    ],
)
def test_damaged_body_is_rejected(client: FlaskClient, encoding: str, body: bytes) -> None:
    answer = send(client, body, encoding)
    assert (answer.status_code, problem_code(answer)) == (400, "bad-request")
    assert "Content-Encoding" in answer.get_json()["detail"]


def test_empty_compressed_body_is_empty(client: FlaskClient) -> None:
    assert problem_code(send(client, b"", "gzip")) == "invalid-json"


@pytest.mark.parametrize("encoding", COMPRESS)
def test_limit_applies_to_decompressed_body(client: FlaskClient, encoding: str) -> None:
    for compress in COMPRESS[encoding]:
        at_limit = BODY.ljust(MAX_BODY)
        assert send(client, compress(at_limit), encoding).status_code == 200
        answer = send(client, compress(at_limit + b" "), encoding)
        assert (answer.status_code, problem_code(answer)) == (413, "body-too-large")


def test_decompression_stops_at_limit() -> None:
    bomb = io.BytesIO(gzip.compress(bytes(100_000_000)))
    request = Request({**EnvironBuilder().get_environ(), "wsgi.input_terminated": True})
    request.environ["wsgi.input"] = bomb
    request.max_content_length = 10_000
    with pytest.raises(RequestEntityTooLarge):
        _DecodedBody(request, "gzip").read()
    assert bomb.tell() < 10_000


@given(
    parts=st.lists(st.binary(max_size=5000), min_size=1, max_size=4),
    size=st.integers(1, 100),
    cut=st.integers(1, 20),
)
def test_decoded_body_equals_original(parts: list[bytes], size: int, cut: int) -> None:
    original = b"".join(parts)
    for coding, sent in (
        ("gzip", b"".join(map(gzip.compress, parts))),
        ("deflate", zlib.compress(original)),
        ("deflate", raw_deflate(original)),
    ):
        body = io.BufferedReader(_DecodedBody(Request.from_values(data=sent), coding))
        pieces = []
        while piece := body.read(size):
            pieces.append(piece)
        assert b"".join(pieces) == original
        if cut < len(sent) and (coding == "deflate" or cut < 20):
            with pytest.raises(BadRequest):
                _DecodedBody(Request.from_values(data=sent[:-cut]), coding).read()


@pytest.mark.parametrize("encoding", COMPRESS)
def test_upload_may_be_compressed(make: Make, encoding: str) -> None:
    client = make(start=False, max_upload=20_000, max_body=1000).test_client()
    table = b"review\n" + b"a good film\n" * 1000
    for compress in COMPRESS[encoding]:
        answer = send(client, compress(table), encoding, "/v1/jobs?name=a.csv", "text/csv")
        assert (answer.status_code, answer.get_json()["rows"]) == (202, 1000)
        answer = send(client, compress(table[:800]), encoding, "/v1/preview?name=a.csv", "text/csv")
        assert answer.get_json()["columns"] == ["review"]


def test_upload_errors_leave_no_job(make: Make) -> None:
    client = make(start=False, max_upload=20_000).test_client()
    table = b"review\n" + b"a good film\n" * 2000
    for body, status in (
        (gzip.compress(table, mtime=0), 413),
        (gzip.compress(table[:10_000], mtime=0)[:-4], 400),
        (table, 400),
    ):
        answer = send(client, body, "gzip", "/v1/jobs?name=a.csv", "text/csv")
        assert answer.status_code == status, answer.text
    state = client.application.extensions["reelsense"]
    assert state.jobs_worker.jobs.count() == 0


def test_missing_key_is_reported_before_body(client: FlaskClient) -> None:
    client = ready_app(keys=KEYS).test_client()
    assert send(client, b"damaged", "gzip").status_code == 401
    headers = {"Content-Encoding": "br", **bearer(SHOP)}
    assert client.post("/v1/predict", json={}, headers=headers).status_code == 415


def test_load_shedding_counts_decompressed_bytes() -> None:
    app, gate = gated(max_concurrent_bytes=3000)
    shedder = app.extensions["reelsense"].load_shedder
    sizes = []
    shedder._on_change = lambda _, size: sizes.append(size)
    gate.open.set()
    with app.test_client() as client:
        assert send(client, gzip.compress(BODY.ljust(2000)), "gzip").status_code == 200
    assert sizes == [2000, 0]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (gzip.compress(BODY, mtime=0), b"200"),
        (gzip.compress(BODY, mtime=0)[:-1], b"400"),
        (gzip.compress(BODY.ljust(MAX_BODY + 1), mtime=0), b"413"),
    ],
)
def test_compressed_body_over_real_connection(app: Flask, body: bytes, status: bytes) -> None:
    with listening(app) as (port, _):
        answer = answer_to(port, raw_post(body, "Content-Encoding: gzip"))
    assert answer.split()[1] == status
