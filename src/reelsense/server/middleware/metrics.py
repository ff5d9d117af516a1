"""The metrics of the server, for Prometheus."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reelsense.drift.report import ALERTS, MEASURES, DriftReport
from reelsense.inference.call_context import CallContext
from reelsense.jobs.job import CANCELLED, DONE, FAILED
from reelsense.prediction import Prediction
from reelsense.server.model_source import ClassifierProtocol
from reelsense.server.shadow import OUTCOMES

if TYPE_CHECKING:
    from prometheus_client import Metric

# Environment variable with the folder in which several processes share their metrics.
FOLDER = "PROMETHEUS_MULTIPROC_DIR"

_METHODS = {"GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE"}
_PHASES = ("queue", "tokenize", "network")

# Problem codes that are counted: the metric, and its label if it has one.
_COUNTED_PROBLEMS = {
    "overloaded": ("shed", "queue"),
    "rate-limited": ("shed", "rate"),
    "too-many-jobs": ("shed", "jobs"),
    "deadline-exceeded": ("expired",),
    "abandoned": ("abandoned",),
}

# Name, kind, help and labels. Series of labels whose values are known start at 0, so that the first
# event is an increase.
_METRICS: Sequence[tuple[str, str, str, Mapping[str, Sequence[str]]]] = (
    ("requests", "counter", "Requests answered.", {"route": (), "method": (), "status": ()}),
    ("request_duration_seconds", "duration", "Duration of requests, except 429.", {"route": ()}),
    ("phase_duration_seconds", "duration", "Duration of scoring phases.", {"phase": _PHASES}),
    ("batch_windows", "windows", "Windows per batch.", {"model": ()}),
    ("tokens", "counter", "Tokens processed by the network, without padding.", {"model": ()}),
    ("requests_in_flight", "sum", "Requests in flight.", {}),
    ("request_bytes_in_flight", "sum", "Bytes of their bodies.", {}),
    ("shed", "counter", "Requests rejected with 429.", {"reason": ("queue", "rate", "jobs")}),
    ("expired", "counter", "Requests that exceeded their deadline.", {}),
    ("abandoned", "counter", "Requests whose client disconnected.", {}),
    ("cache_hits", "counter", "Texts answered from the cache.", {}),
    ("cache_misses", "counter", "Texts that were computed.", {}),
    ("model_info", "flag", "1 for the model in use.", {"model": (), "name": (), "version": ()}),
    ("workers", "sum", "Processes with (ready) or without all models.", {"state": ()}),
    ("model_loads", "counter", "Attempts to load a model.", {"model": (), "outcome": ()}),
    ("predictions", "counter", "Predictions.", {"model": (), "label": (), "verdict": ()}),
    ("confidence", "probability", "Probability of the predicted label.", {"model": ()}),
    (
        "shadow_texts",
        "counter",
        "Texts for the shadow model: same label or not, not scored, or not scorable.",
        {"outcome": OUTCOMES},
    ),
    (
        *("kept_predictions", "counter", "Predictions to store, and those dropped instead."),
        {"outcome": ("stored", "dropped")},
    ),
    ("feedback", "counter", "Feedback that was stored.", {}),
    ("drift_texts", "latest", "Texts compared with the reference profile.", {}),
    ("drift_level", "latest", "Drift: 0 none, 1 warning, 2 alarm.", {"measure": MEASURES}),
    ("drift_effect", "latest", "Size of the difference, 0 to 1.", {"measure": MEASURES}),
    ("drift_p_value", "latest", "Adjusted p-value of its test.", {"measure": MEASURES}),
    ("drift_auc", "latest", "Of a classifier of current and reference texts.", {}),
    (
        *("estimated_accuracy", "latest", "Without labels, by the drift level it depends on."),
        {"drift": ALERTS},
    ),
    ("job_rows", "counter", "Rows of jobs, scored or not.", {"outcome": ("scored", "unscored")}),
    ("jobs", "counter", "Jobs that ended.", {"state": (DONE, CANCELLED, FAILED)}),
)


class ServerMetrics:
    """The metrics of one process, or of several that share a folder."""

    def __init__(self, models: Sequence[str]) -> None:
        """Create the metrics of a server with `models`."""
        # Imported here, because the library reads the variable of the folder when it is imported.
        import prometheus_client
        from prometheus_client import Counter, Gauge, Histogram

        # These series would add a third more lines, for little use.
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        durations = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60)
        probabilities = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 1)
        kinds: dict[str, Any] = {
            "counter": Counter,
            "sum": partial(Gauge, multiprocess_mode="livesum"),
            "flag": partial(Gauge, multiprocess_mode="livemax"),
            "latest": partial(Gauge, multiprocess_mode="mostrecent"),
            "duration": partial(Histogram, buckets=durations),
            "probability": partial(Histogram, buckets=probabilities),
            "windows": partial(Histogram, buckets=[2**n for n in range(8)]),
        }
        self._registry = prometheus_client.CollectorRegistry()
        self._metrics: dict[str, Any] = {}
        for name, kind, text, labels in _METRICS:
            metric = kinds[kind](f"reelsense_{name}", text, tuple(labels), registry=self._registry)
            self._metrics[name] = metric
            for values in labels.values() if len(labels) == 1 else ():
                for value in values:
                    metric.labels(value)
        for model in models:
            for outcome in ("served", "rejected"):
                self._metric("model_loads", model, outcome)
            self._metric("tokens", model)
        self._loaded: dict[str, tuple[str, str] | None] = dict.fromkeys(models)
        self._set_ready()

    def _metric(self, name: str, *labels: object) -> Any:
        metric = self._metrics[name]
        return metric.labels(*labels) if labels else metric

    def record_request(self, route: str, method: str, status: int, seconds: float | None) -> None:
        """Count a request to `route` (the URL pattern) that took `seconds`, if known."""
        known = method if method in _METHODS else "other"
        self._metric("requests", route, known, status).inc()
        # Thousands of fast rejections would hide the duration of the others.
        if seconds is not None and status != HTTPStatus.TOO_MANY_REQUESTS:
            self._metric("request_duration_seconds", route).observe(seconds)

    def record_predictions(
        self, model: str, answers: Sequence[object], context: CallContext
    ) -> None:
        """Count the predictions among the answers of a call, and the duration of its phases."""
        for phase in _PHASES:
            self._metric("phase_duration_seconds", phase).observe(getattr(context, phase))
        self._metric("cache_hits").inc(context.cache_hits)
        self._metric("cache_misses").inc(context.computed)
        for prediction in answers:
            if isinstance(prediction, Prediction):
                self._metric("predictions", model, prediction.label, prediction.verdict).inc()
                self._metric("confidence", model).observe(prediction.score)

    def record_batch(self, model: str, windows: int, tokens: int) -> None:
        self._metric("batch_windows", model).observe(windows)
        self._metric("tokens", model).inc(tokens)

    def record_shadow(self, outcome: str) -> None:
        """Count a text for the shadow model."""
        self._metric("shadow_texts", outcome).inc()

    def record_kept_predictions(self, stored: int, dropped: int) -> None:
        """Count predictions that were stored, or dropped because the database failed or is slow."""
        self._metric("kept_predictions", "stored").inc(stored)
        self._metric("kept_predictions", "dropped").inc(dropped)

    def record_feedback(self) -> None:
        self._metric("feedback").inc()

    def record_job_rows(self, scored: int, rows: int) -> None:
        """Count `rows` of a job, of which `scored` have a prediction."""
        self._metric("job_rows", "scored").inc(scored)
        self._metric("job_rows", "unscored").inc(rows - scored)

    def record_job_end(self, state: str) -> None:
        self._metric("jobs", state).inc()

    def record_drift(self, report: DriftReport | None) -> None:
        """Set the metrics of drift. What is not known is NaN."""
        if report is None:
            return
        unknown = float("nan")
        self._metric("drift_texts").set(report.texts)
        self._metric("drift_auc").set(unknown if report.auc is None else report.auc)
        measures = {measure.name: measure for measure in report.measures}
        for name in MEASURES:
            measure = measures.get(name)
            level = ALERTS.index(measure.alert) if measure else 0
            self._metric("drift_level", name).set(level)
            self._metric("drift_effect", name).set(measure.effect if measure else unknown)
            self._metric("drift_p_value", name).set(measure.p_value if measure else unknown)
        accuracy = report.estimated_accuracy
        for alert in ALERTS:
            is_current = accuracy and accuracy.drift == alert
            self._metric("estimated_accuracy", alert).set(
                accuracy.value if accuracy and is_current else unknown
            )

    def record_problem(self, code: str) -> None:
        """Count a problem response, if its `code` concerns capacity or an absent client."""
        if code in _COUNTED_PROBLEMS:
            self._metric(*_COUNTED_PROBLEMS[code]).inc()

    def record_load(self, model: str, classifier: ClassifierProtocol | None) -> None:
        """Count a load of `model`; with None, one that failed."""
        self._metric("model_loads", model, "served" if classifier else "rejected").inc()
        if classifier:
            if before := self._loaded[model]:
                self._metric("model_info", model, *before).set(0)
            current = (classifier.manifest.name, classifier.manifest.version)
            self._loaded[model] = current
            self._metric("model_info", model, *current).set(1)
            self._set_ready()

    def _set_ready(self) -> None:
        ready = all(self._loaded.values())
        self._metric("workers", "ready").set(ready)
        self._metric("workers", "waiting").set(not ready)

    def set_in_flight(self, requests: int, size: int) -> None:
        self._metric("requests_in_flight").set(requests)
        self._metric("request_bytes_in_flight").set(size)

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
