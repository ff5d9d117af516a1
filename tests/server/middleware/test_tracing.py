from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st

from reelsense.errors import MissingExtraError
from reelsense.server.app import create_app
from reelsense.server.middleware import tracing
from reelsense.server.middleware.tracing import TraceContext
from reelsense.server.process.run import check_start
from reelsense.server.settings import Settings
from reelsense.server.state import state_of
from tests import processes, tiny
from tests.server.conftest import wait_until_ready
from tests.server.middleware.test_request_context import log  # noqa: F401  # a fixture

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SENT = f"00-{TRACE}-{PARENT}-01"


def returned(client: FlaskClient, header: str | None = None) -> list[str]:
    """Return version, trace, span and flags of a response."""
    headers = {} if header is None else {"traceparent": header}
    answer = client.post("/v1/predict", json={"text": "good"}, headers=headers)
    assert answer.status_code == 200
    context = answer.headers["traceparent"]
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]", context)
    return context.split("-")


def test_trace_of_the_client_is_continued(client: FlaskClient) -> None:
    _, trace, span, flags = returned(client, SENT)
    assert (trace, flags) == (TRACE, "01")
    assert span not in (PARENT, returned(client, SENT)[2])
    assert returned(client, f"00-{TRACE}-{PARENT}-00")[1::2] == [TRACE, "00"]
    assert returned(client, f"01-{TRACE}-{PARENT}-ff-later")[1::2] == [TRACE, "01"]


def test_every_response_has_a_trace_context(client: FlaskClient) -> None:
    for path in ("/healthz", "/nothing", "/static/page.css", "/v1/predict", "/"):
        with client.get(path, headers={"traceparent": SENT}) as answer:
            assert answer.headers["traceparent"].startswith(f"00-{TRACE}-")
    assert returned(client)[1] != returned(client)[1]


@pytest.mark.parametrize(
    "header",
    [
        "",
        "x",
        TRACE,
        SENT.upper(),
        f" {SENT},{SENT}",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"{SENT}-more",
        f"01-{TRACE}-{PARENT}-01more",
        f"00-{TRACE}-{PARENT}-1",
        f"00-{TRACE[1:]}-{PARENT}-01",
        "\u0660" * 55,
    ],
)
def test_invalid_trace_context_is_ignored(client: FlaskClient, header: str) -> None:
    _, trace, _, flags = returned(client, header)
    assert (trace != TRACE, flags) == (True, "00")


@given(st.text() | st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?\Z"))
def test_parsed_trace_context_is_valid(header: str) -> None:
    if context := TraceContext.parse(header):
        assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]", str(context))
        assert TraceContext.parse(str(context)) == context
        assert int(context.trace_id, 16)
        assert int(context.span_id, 16)


def test_log_has_the_trace(client: FlaskClient, log: Any) -> None:  # noqa: F811
    returned(client, SENT)
    assert json.loads(log()[-1])["trace_id"] == TRACE


class Receiver(ThreadingHTTPServer):
    """Receives spans as an OpenTelemetry collector does (OTLP over HTTP, protobuf)."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.service: dict[str, str] = {}
        super().__init__(("127.0.0.1", 0), _ReceiverHandler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def named(self, name: str) -> Any:
        [span] = [span for span in self.spans if span.name == name]
        return span


class _ReceiverHandler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
            ExportTraceServiceRequest,
        )

        assert self.path == "/v1/traces"
        body = self.rfile.read(int(self.headers["Content-Length"]))
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            attributes = resource.resource.attributes
            self.server.service |= {item.key: item.value.string_value for item in attributes}
            for scope in resource.scope_spans:
                self.server.spans += scope.spans
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def attributes_of(span: Any) -> dict[str, Any]:
    return {
        item.key: getattr(item.value, item.value.WhichOneof("value")) for item in span.attributes
    }


def test_spans_of_a_request_and_its_phases_are_exported(receiver: Receiver) -> None:
    app = create_app(Settings(otlp_endpoint=f"{receiver.url}/"), tiny.classifier())
    client = app.test_client()
    wait_until_ready(client)
    _, trace, span_id, flags = returned(client, SENT)
    assert (trace, flags) == (TRACE, "01")
    assert client.get("/v1/jobs/0123456789abcdefABCDEF").headers["traceparent"].endswith("-01")
    tracer = state_of(app).tracer
    assert tracer
    tracer.close()
    span = receiver.named("POST /v1/predict")
    assert span.trace_id.hex() == TRACE
    assert span.parent_span_id.hex() == PARENT
    assert span.span_id.hex() == span_id
    facts = attributes_of(span)
    assert facts.pop("reelsense.request_id")
    assert facts == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "http.route": "/v1/predict",
        "reelsense.model": "0",
        "url.path": "/v1/predict",
    }
    phases = [receiver.named(name) for name in ("tokenize", "queue", "network")]
    begin = span.start_time_unix_nano
    for phase in phases:
        assert (phase.trace_id, phase.parent_span_id) == (span.trace_id, span.span_id)
        assert phase.start_time_unix_nano == begin < phase.end_time_unix_nano
        begin = phase.end_time_unix_nano
    assert begin <= span.end_time_unix_nano
    assert receiver.service["service.name"] == "reelsense"
    [job] = [span for span in receiver.spans if span.name.startswith("GET /v1/jobs/<")]
    assert attributes_of(job)["url.path"] == "/v1/jobs/012345..."
    assert len(receiver.spans) == 5  # none for /readyz


def test_span_of_a_failed_request_has_the_status_error(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = create_app(Settings(otlp_endpoint=receiver.url), tiny.classifier())
    client = app.test_client()
    wait_until_ready(client)
    monkeypatch.setattr("reelsense.server.api.v1.answer_all", lambda *_: 1 / 0)
    client.post("/v1/predict", json={"text": "good"})
    client.post("/v1/predict", json={"text": ""})
    tracer = state_of(app).tracer
    assert tracer
    tracer.close()
    statuses = [
        (attributes_of(span)["http.response.status_code"], span.status.code)
        for span in receiver.spans
    ]
    assert statuses == [(500, 2), (422, 0)]


def test_unsampled_traces_are_not_exported(receiver: Receiver) -> None:
    app = create_app(Settings(otlp_endpoint=receiver.url), tiny.classifier())
    client = app.test_client()
    wait_until_ready(client)
    assert returned(client, f"00-{TRACE}-{PARENT}-00")[1::2] == [TRACE, "00"]
    tracer = state_of(app).tracer
    assert tracer
    tracer.close()
    assert receiver.spans == []


@pytest.mark.slow
def test_server_exports_the_last_spans_when_it_stops(receiver: Receiver) -> None:
    with processes.server("--otlp-endpoint", receiver.url) as (address, _):
        assert processes.ask(f"{address}/v1/predict", {"text": "A joy."}).status == 200
    assert receiver.named("POST /v1/predict")
    assert receiver.named("network")


def test_server_does_not_start_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"reelsense\[otel\]"):
        check_start(Settings(otlp_endpoint="http://localhost:4318"))
    with pytest.raises(MissingExtraError):
        tracing.create_tracer(SimpleNamespace(otlp_endpoint="http://x"))  # type: ignore[arg-type]


@pytest.mark.parametrize("url", ["localhost:4318", "grpc://x", "http://"])
def test_endpoint_must_be_a_url(url: str) -> None:
    with pytest.raises(ValueError, match="http://localhost:4318"):
        Settings(otlp_endpoint=url)
