"""Trace context of requests (W3C traceparent), and spans for OpenTelemetry.

Every request belongs to a trace: that of its header `traceparent`, or a new one. With the setting
`otlp_endpoint`, the request and its phases are exported as spans (extra [otel]).
"""

from __future__ import annotations

import os
import re
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, g, request
from structlog.contextvars import bind_contextvars

from reelsense import __version__
from reelsense.extras import importable
from reelsense.server.middleware.logging import loggable
from reelsense.server.middleware.request_context import call_context, is_polled, request_id
from reelsense.server.settings import Settings
from reelsense.server.state import get_state

if TYPE_CHECKING:
    from opentelemetry.trace import Span

_PHASES = ("tokenize", "queue", "network")  # in this order
_SAMPLED = 1  # the only flag of version 00

# Later versions may append fields after another dash.
_TRACEPARENT = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?!0{32})(?P<trace>[0-9a-f]{32})-"
    r"(?!0{16})(?P<parent>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})(?P<more>-.*)?"
)


@dataclass(frozen=True, slots=True)
class TraceContext:
    """The trace of a request, and a span in it."""

    trace_id: str  # 32 hexadecimal digits
    span_id: str  # 16 hexadecimal digits
    flags: int

    @classmethod
    def parse(cls, header: str) -> TraceContext | None:
        """Return the context in a header `traceparent`; None: it is missing or invalid."""
        match = _TRACEPARENT.fullmatch(header)
        if not match or (match["version"] == "00" and match["more"]):
            return None
        return cls(match["trace"], match["parent"], int(match["flags"], 16) & _SAMPLED)

    @classmethod
    def child_of(cls, parent: TraceContext | None) -> TraceContext:
        """Return a new span in the trace of `parent`, or in a new trace that is not sampled."""
        trace_id = parent.trace_id if parent else secrets.token_hex(16)
        return cls(trace_id, secrets.token_hex(8), parent.flags if parent else 0)

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"


def register(app: Flask) -> None:
    """Let `app` accept, log and return the trace context of its requests, and export spans."""
    app.before_request(_begin)
    app.after_request(_end)


def _begin() -> None:
    parent = TraceContext.parse(request.headers.get("traceparent", ""))
    tracer = get_state().tracer
    if tracer and not is_polled():
        g.span = tracer.start(f"{loggable(request.method)} {_route()}", parent)
        g.trace = tracer.context_of(g.span)
    else:
        g.trace = TraceContext.child_of(parent)
    bind_contextvars(trace_id=g.trace.trace_id)


def _end(response: Response) -> Response:
    response.headers["traceparent"] = str(g.trace)
    if (tracer := get_state().tracer) and "span" in g:
        context = call_context()
        attributes: dict[str, str | int] = {
            "http.request.method": loggable(request.method),
            "http.response.status_code": response.status_code,
            "http.route": _route(),
            "url.path": loggable(request.path),
            "reelsense.request_id": request_id(),
        }
        if "classifier" in g:
            attributes["reelsense.model"] = g.classifier.manifest.version
        durations = {phase: getattr(context, phase) for phase in _PHASES}
        tracer.end(g.span, attributes, durations, is_error=response.status_code >= 500)
    return response


def _route() -> str:
    return request.url_rule.rule if request.url_rule else "none"


class Tracer:
    """Exports spans to an OpenTelemetry collector, in the background."""

    def __init__(self, endpoint: str) -> None:
        """Start the export to the base URL of an OTLP receiver. Raises MissingExtraError."""
        check_extra()
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        name = os.environ.get("OTEL_SERVICE_NAME", "reelsense")
        service = Resource.create({SERVICE_NAME: name, SERVICE_VERSION: __version__})
        provider = TracerProvider(resource=service)
        exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
        provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = provider.get_tracer("reelsense", __version__)
        self.close = provider.shutdown

    def start(self, name: str, parent: TraceContext | None) -> Span:
        """Start the span of a request, below the span of its client if there is one."""
        from opentelemetry import trace

        context = None
        if parent:
            remote = trace.SpanContext(
                int(parent.trace_id, 16),
                int(parent.span_id, 16),
                is_remote=True,
                trace_flags=trace.TraceFlags(parent.flags),
            )
            context = trace.set_span_in_context(trace.NonRecordingSpan(remote))
        return self._tracer.start_span(name, context, trace.SpanKind.SERVER)

    @staticmethod
    def context_of(span: Span) -> TraceContext:
        """Return the trace context of `span`."""
        context = span.get_span_context()
        flags = context.trace_flags & _SAMPLED
        return TraceContext(f"{context.trace_id:032x}", f"{context.span_id:016x}", flags)

    def end(
        self,
        span: Any,
        attributes: dict[str, str | int],
        phases: dict[str, float],
        *,
        is_error: bool,
    ) -> None:
        """End `span`, with a child span for each of `phases` (seconds) that took time.

        The phases of a request with many texts alternate. Each child span has their total, and
        begins where the one before ends.
        """
        from opentelemetry import trace

        if not span.is_recording():
            return
        span.set_attributes(attributes)
        if is_error:
            span.set_status(trace.StatusCode.ERROR)
        parent, begin = trace.set_span_in_context(span), span.start_time
        for phase, seconds in phases.items():
            if seconds > 0:
                child = self._tracer.start_span(phase, parent, start_time=begin)
                begin += int(seconds * 1e9)
                child.end(begin)
        span.end(max(begin, time.time_ns()))


def check_extra() -> None:
    """Raise MissingExtraError if the extra [otel] is not installed."""
    importable("opentelemetry.exporter.otlp.proto.http", "otel", "otlp_endpoint")


def create_tracer(settings: Settings) -> Tracer | None:
    """Return what exports spans; None: the settings do not ask for it."""
    return Tracer(settings.otlp_endpoint) if settings.otlp_endpoint else None
