"""What Prometheus is told. Knows what is counted; does not know when."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import current_app

from reelsense.inference.call_context import CallContext
from reelsense.jobs.job import CANCELLED, DONE, FAILED
from reelsense.prediction import Prediction
from reelsense.server.model_source import ClassifierProtocol

if TYPE_CHECKING:
    from prometheus_client import Metric

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The variable that names the folder in which several processes count together."""

_METHODS = {"GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE"}
_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60)
_PHASES = ("queue", "tokenize", "network")
_OUTCOMES = ("served", "refused")
_SHED = {"overloaded": "queue", "rate-limited": "rate", "too-many-jobs": "jobs"}


class ServerMetrics:
    """The counters of one process, or of several that share a folder."""

    def __init__(self) -> None:
        """Begin to count. The folder, if any, has to be named before the first of these."""
        # Here, because it looks at the variable when it is imported.
        import prometheus_client as prometheus

        prometheus.disable_created_metrics()  # type: ignore[no-untyped-call]  # a third more lines, which nobody asked for
        self._registry = prometheus.CollectorRegistry()

        def made(kind: Callable[..., Any], name: str, text: str, *labels: str, **more: Any) -> Any:
            return kind(f"reelsense_{name}", text, labels, registry=self._registry, **more)

        counter, gauge, histogram = prometheus.Counter, prometheus.Gauge, prometheus.Histogram
        self._requests = made(
            counter, "requests", "Requests that were answered.", "route", "method", "status"
        )
        self._seconds = made(
            histogram,
            "request_duration_seconds",
            "Time to any answer but 429.",
            "route",
            buckets=_SECONDS,
        )
        self._phases = made(
            histogram,
            "phase_duration_seconds",
            "Time of an answer to texts.",
            "phase",
            buckets=_SECONDS,
        )
        self._batches = made(
            histogram, "batch_windows", "Windows in a batch.", buckets=[1, 2, 4, 8, 16, 32, 64, 128]
        )
        self._tokens = made(counter, "tokens", "Tokens read by the network, without padding.")
        self._hand = made(
            gauge, "requests_in_flight", "Requests in hand.", multiprocess_mode="livesum"
        )
        self._bytes = made(
            gauge, "request_bytes_in_flight", "Bytes of their bodies.", multiprocess_mode="livesum"
        )
        self._shed = made(counter, "shed", "Requests told to come back later.", "reason")
        self._expired = made(counter, "expired", "Requests given up at their deadline.")
        self._abandoned = made(counter, "abandoned", "Requests whose client had gone.")
        self._hits = made(counter, "cache_hits", "Texts whose answer was known or being computed.")
        self._misses = made(counter, "cache_misses", "Texts that were computed.")
        self._model = made(
            gauge, "model_info", "1 for the model that serves.", "name", "version",
            multiprocess_mode="livemax",
        )  # fmt: skip
        self._workers = made(
            gauge, "workers", "Processes that answer, by whether they have a model.", "state",
            multiprocess_mode="livesum",
        )  # fmt: skip
        self._loads = made(counter, "model_loads", "Models that were loaded or not.", "outcome")
        self._answers = made(counter, "predictions", "Answers.", "label", "verdict")
        self._confidence = made(
            histogram, "confidence", "The probability of the likeliest label.",
            buckets=[0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 1],
        )  # fmt: skip
        self._job_rows = made(counter, "job_rows", "Rows of jobs, scored or not.", "outcome")
        self._jobs = made(counter, "jobs", "Jobs that have come to their end.", "state")
        self._served: tuple[str, str] | None = None
        # From 0 on, so that the first one is an increase.
        for counted, labels in (
            (self._phases, _PHASES),
            (self._shed, _SHED.values()),
            (self._loads, _OUTCOMES),
            (self._job_rows, ("scored", "unscored")),
            (self._jobs, (DONE, CANCELLED, FAILED)),
        ):
            for label in labels:
                counted.labels(label)
        self._is_ready(0)

    def request(self, route: str, method: str, status: int, seconds: float | None) -> None:
        """Count a request that took `seconds`, if that is known.

        `route` is the pattern of the address, not the address.
        """
        known = method if method in _METHODS else "other"
        self._requests.labels(route, known, status).inc()
        # A thousand that were told to come back would hide the others.
        if seconds is not None and status != HTTPStatus.TOO_MANY_REQUESTS:
            self._seconds.labels(route).observe(seconds)

    def scored(self, answers: Sequence[object], context: CallContext) -> None:
        """Count the answers to texts, and where their time went."""
        for phase in _PHASES:
            self._phases.labels(phase).observe(getattr(context, phase))
        self._hits.inc(context.cache_hits)
        self._misses.inc(context.computed)
        for each in answers:
            if isinstance(each, Prediction):
                self._answers.labels(each.label, each.verdict).inc()
                self._confidence.observe(each.score)

    def batch(self, windows: int, tokens: int) -> None:
        """Count a batch that the network read."""
        self._batches.observe(windows)
        self._tokens.inc(tokens)

    def job_rows(self, scored: int, rows: int) -> None:
        """Count `rows` of a job, so many of them scored."""
        self._job_rows.labels("scored").inc(scored)
        self._job_rows.labels("unscored").inc(rows - scored)

    def job_ended(self, state: str) -> None:
        """Count a job that has come to its end."""
        self._jobs.labels(state).inc()

    def refused(self, code: str) -> None:
        """Count a request that got a problem of kind `code`."""
        if code in _SHED:
            self._shed.labels(_SHED[code]).inc()
        elif code == "deadline-exceeded":
            self._expired.inc()
        elif code == "abandoned":
            self._abandoned.inc()

    def loaded(self, classifier: ClassifierProtocol | None) -> None:
        """Count a model that serves now, or with None one that could not be loaded."""
        self._loads.labels(_OUTCOMES[classifier is None]).inc()
        if classifier:
            if self._served:
                self._model.labels(*self._served).set(0)
            self._served = (classifier.manifest.name, classifier.manifest.version)
            self._model.labels(*self._served).set(1)
            self._is_ready(1)

    def _is_ready(self, ready: int) -> None:
        self._workers.labels("ready").set(ready)
        self._workers.labels("waiting").set(1 - ready)

    def in_hand(self, requests: int, size: int) -> None:
        """Tell how much is in hand."""
        self._hand.set(requests)
        self._bytes.set(size)

    def text(self) -> bytes:
        """Return all of it, of all processes, as Prometheus reads it."""
        from prometheus_client import CollectorRegistry, generate_latest

        registry = self._registry
        if folder := os.environ.get(FOLDER):
            registry = CollectorRegistry()
            registry.register(_Together(Path(folder)))
        return generate_latest(registry)


class _Together:
    """What the processes have counted that share `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        from prometheus_client.multiprocess import MultiProcessCollector

        # prometheus_client stumbles over one that a process has just made and not yet filled.
        files = [str(path) for path in self._folder.glob("*.db") if _is_filled(path)]
        found: Iterable[Metric] = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]
        return found


def _is_filled(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:  # that of a process which has just ended
        return False


def metrics() -> ServerMetrics:
    """Return the metrics of the current application."""
    found: ServerMetrics = current_app.extensions["reelsense.metrics"]
    return found
