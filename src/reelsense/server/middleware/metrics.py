"""The metrics of the server, for Prometheus."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reelsense.inference.call_context import CallContext
from reelsense.jobs.job import CANCELLED, DONE, FAILED
from reelsense.prediction import Prediction
from reelsense.server.model_source import ClassifierProtocol
from reelsense.server.state import get_state

if TYPE_CHECKING:
    from prometheus_client import Metric

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable with the folder in which several processes share their metrics."""

_METHODS = {"GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE"}
_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60)
_PHASES = ("queue", "tokenize", "network")
_LOADED, _FAILED = _OUTCOMES = ("served", "refused")
_SHED_REASONS = {"overloaded": "queue", "rate-limited": "rate", "too-many-jobs": "jobs"}


class ServerMetrics:
    """The metrics of one process, or of several that share a folder."""

    def __init__(self) -> None:
        """Create the metrics. The variable of the folder has to be set before the first of them."""
        # Imported here, because the module reads the variable when it is imported.
        import prometheus_client as prometheus
        from prometheus_client import Counter, Gauge, Histogram

        prometheus.disable_created_metrics()  # type: ignore[no-untyped-call]  # a third more lines, for little use
        self._registry = prometheus.CollectorRegistry()

        def new(kind: Callable[..., Any], name: str, text: str, *labels: str, **more: Any) -> Any:
            return kind(f"reelsense_{name}", text, labels, registry=self._registry, **more)

        def new_sum(name: str, text: str, *labels: str) -> Any:
            return new(Gauge, name, text, *labels, multiprocess_mode="livesum")

        def new_duration(name: str, text: str, label: str) -> Any:
            return new(Histogram, name, text, label, buckets=_SECONDS)

        self._requests = new(Counter, "requests", "Requests answered.", "route", "method", "status")
        self._durations = new_duration(
            "request_duration_seconds", "Duration of requests, except those with 429.", "route"
        )
        self._phases = new_duration(
            "phase_duration_seconds", "Duration of each phase of scoring.", "phase"
        )
        self._batches = new(
            Histogram, "batch_windows", "Windows per batch.", buckets=[2**n for n in range(8)]
        )
        self._tokens = new(Counter, "tokens", "Tokens processed by the network, without padding.")
        self._in_flight = new_sum("requests_in_flight", "Requests in flight.")
        self._bytes = new_sum("request_bytes_in_flight", "Bytes of their bodies.")
        self._shed = new(Counter, "shed", "Requests rejected with 429.", "reason")
        self._expired = new(Counter, "expired", "Requests that exceeded their deadline.")
        self._abandoned = new(Counter, "abandoned", "Requests whose client disconnected.")
        self._hits = new(Counter, "cache_hits", "Texts answered from the cache.")
        self._misses = new(Counter, "cache_misses", "Texts that were computed.")
        self._model = new(
            Gauge, "model_info", "1 for the model in use.", "name", "version",
            multiprocess_mode="livemax",
        )  # fmt: skip
        self._workers = new_sum("workers", "Processes with (ready) or without a model.", "state")
        self._loads = new(Counter, "model_loads", "Attempts to load a model.", "outcome")
        self._predictions = new(Counter, "predictions", "Predictions.", "label", "verdict")
        self._confidence = new(
            Histogram, "confidence", "Probability of the predicted label.",
            buckets=[0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 1],
        )  # fmt: skip
        self._job_rows = new(Counter, "job_rows", "Rows of jobs, scored or not.", "outcome")
        self._jobs = new(Counter, "jobs", "Jobs that ended.", "state")
        self._current_model: tuple[str, str] | None = None
        # Create the series at 0, so that the first event is an increase.
        for metric, labels in (
            (self._phases, _PHASES),
            (self._shed, _SHED_REASONS.values()),
            (self._loads, _OUTCOMES),
            (self._job_rows, ("scored", "unscored")),
            (self._jobs, (DONE, CANCELLED, FAILED)),
        ):
            for label in labels:
                metric.labels(label)
        self._set_ready(0)

    def record_request(self, route: str, method: str, status: int, seconds: float | None) -> None:
        """Count a request.

        Args:
            route: The URL pattern, not the URL.
            method: The HTTP method.
            status: The status of the response.
            seconds: The duration, if known.
        """
        known = method if method in _METHODS else "other"
        self._requests.labels(route, known, status).inc()
        # Thousands of fast rejections would hide the duration of the others.
        if seconds is not None and status != HTTPStatus.TOO_MANY_REQUESTS:
            self._durations.labels(route).observe(seconds)

    def record_predictions(self, answers: Sequence[object], context: CallContext) -> None:
        """Count the predictions of a call, and the duration of its phases."""
        for phase in _PHASES:
            self._phases.labels(phase).observe(getattr(context, phase))
        self._hits.inc(context.cache_hits)
        self._misses.inc(context.computed)
        for prediction in answers:
            if isinstance(prediction, Prediction):
                self._predictions.labels(prediction.label, prediction.verdict).inc()
                self._confidence.observe(prediction.score)

    def record_batch(self, windows: int, tokens: int) -> None:
        """Count a batch that the network processed."""
        self._batches.observe(windows)
        self._tokens.inc(tokens)

    def job_rows(self, scored: int, rows: int) -> None:
        """Count `rows` of a job, of which `scored` have a prediction."""
        self._job_rows.labels("scored").inc(scored)
        self._job_rows.labels("unscored").inc(rows - scored)

    def job_ended(self, state: str) -> None:
        """Count a job that ended."""
        self._jobs.labels(state).inc()

    def record_problem(self, code: str) -> None:
        """Count a problem response, if its `code` concerns capacity or an absent client."""
        if code in _SHED_REASONS:
            self._shed.labels(_SHED_REASONS[code]).inc()
        elif code == "deadline-exceeded":
            self._expired.inc()
        elif code == "abandoned":
            self._abandoned.inc()

    def record_load(self, classifier: ClassifierProtocol | None) -> None:
        """Count a model that was loaded, or with None one that could not be loaded."""
        self._loads.labels(_LOADED if classifier else _FAILED).inc()
        if classifier:
            if self._current_model:
                self._model.labels(*self._current_model).set(0)
            self._current_model = (classifier.manifest.name, classifier.manifest.version)
            self._model.labels(*self._current_model).set(1)
            self._set_ready(1)

    def _set_ready(self, ready: int) -> None:
        self._workers.labels("ready").set(ready)
        self._workers.labels("waiting").set(1 - ready)

    def set_in_flight(self, requests: int, size: int) -> None:
        """Set the number of requests in flight and the bytes of their bodies."""
        self._in_flight.set(requests)
        self._bytes.set(size)

    def render(self) -> bytes:
        """Return the metrics of all processes in the text format of Prometheus."""
        from prometheus_client import CollectorRegistry, generate_latest

        registry = self._registry
        if folder := os.environ.get(FOLDER):
            registry = CollectorRegistry()
            registry.register(_SharedFolder(Path(folder)))
        return generate_latest(registry)


class _SharedFolder:
    """Collects the metrics of all processes that share `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        from prometheus_client.multiprocess import MultiProcessCollector

        # prometheus_client fails on a file that a process just created and has not filled yet.
        files = [str(path) for path in self._folder.glob("*.db") if _is_filled(path)]
        metrics: Iterable[Metric] = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]
        return metrics


def _is_filled(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:  # its process just ended
        return False


def metrics() -> ServerMetrics:
    """Return the metrics of the current application."""
    return get_state().metrics
