"""The page about the model: metrics, limitations, plots, model card and evaluation report.

All of it but the drift is rendered from the bundle. Does not know how models are evaluated.
"""

from __future__ import annotations

import gzip
import logging
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple
from weakref import WeakKeyDictionary

from flask import Blueprint, Response, render_template, request
from werkzeug.exceptions import NotFound

from reelsense.bundle import Manifest
from reelsense.errors import BundleError
from reelsense.inference.calibration import decision_thresholds
from reelsense.report.page import SECTIONS, render_report
from reelsense.report.record import EvaluationRecord
from reelsense.report.results import Share
from reelsense.server.api.drift import current_drift
from reelsense.server.model_holder import classifier
from reelsense.server.model_source import ClassifierProtocol
from reelsense.server.pages.card import read_card

blueprint = Blueprint("model_page", __name__)

# Content security policy of report and plots: they contain inline styles, but run nothing.
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    # Same origin, or links in the report would not send the session cookie.
    "form-action 'none'; frame-ancestors 'none'; sandbox allow-same-origin"
)

_reports: WeakKeyDictionary[ClassifierProtocol, str] = WeakKeyDictionary()  # rendered reports


class Figure(NamedTuple):
    """A metric of the model, as people read it."""

    name: str
    value: str
    meaning: str


@blueprint.get("/model")
def model() -> str:
    """Show the metrics, limitations, drift, plots and card of the model."""
    current = classifier()
    record = _record(current)
    return render_template(
        "model.html",
        manifest=current.manifest,
        card=read_card(current.card),
        record=record,
        sections=SECTIONS,
        headline=_headline(current.manifest, record),
        figures=_figures(current, record),
        thresholds=_thresholds_by_risk(current.manifest),
        drift=current_drift(),
    )


@blueprint.get("/model/plots/<name>.svg")
def plot(name: str) -> Response:
    """Return a plot of the evaluation."""
    for candidate in _required_record().plots:
        if candidate.name == name:
            return _cacheable(candidate.svg, "image/svg+xml")
    raise NotFound(f"the evaluation of this model has no plot named {name!r}")


@blueprint.get("/model/report")
def report() -> Response:
    """Return the evaluation report."""
    current = classifier()
    if current not in _reports:
        _reports[current] = render_report(_required_record(), current.manifest)
    return _cacheable(_reports[current], "text/html")


@blueprint.get("/model/MODEL_CARD.md")
def card() -> Response:
    """Return the source of the model card, to which the report links."""
    return _cacheable(classifier().card, "text/plain")


def _record(current: ClassifierProtocol) -> EvaluationRecord | None:
    return _parse(current.evaluation) if current.evaluation else None


@lru_cache(maxsize=2)
def _parse(text: str) -> EvaluationRecord | None:
    try:
        return EvaluationRecord.from_json(text)
    except BundleError as error:  # the model works without it
        logging.getLogger(__name__).warning("%s", error)
        return None


def _required_record() -> EvaluationRecord:
    record = _record(classifier())
    if record is None:
        raise NotFound("the bundle of this model has no readable evaluation.json")
    return record


def _thresholds_by_risk(manifest: Manifest) -> dict[float, tuple[float | None, ...]]:
    """Return the decision threshold of each length group, by target error rate."""
    thresholds = manifest.risk_control.thresholds if manifest.risk_control else ()
    return {row.risk: decision_thresholds(manifest, row.risk) for row in thresholds}


def _headline(manifest: Manifest, record: EvaluationRecord | None) -> Figure | None:
    """Return the accuracy on the evaluated texts; None: not measured."""
    if record:
        metrics = record.evaluation.metrics
        accuracy = Share.of(round(metrics.accuracy * metrics.reviews), metrics.reviews)
        interval = f" (95 % interval {_percent(accuracy.low)} to {_percent(accuracy.high)})"
        meaning = f"of {metrics.reviews:,} {manifest.nouns} got the right label{interval}"
        return Figure("accuracy", _percent(metrics.accuracy, 2), meaning)
    if manifest.test_accuracy is not None:
        meaning = f"of the {manifest.nouns} of the official test set got the right label"
        return Figure("accuracy", _percent(manifest.test_accuracy, 2), meaning)
    return None


def _figures(current: ClassifierProtocol, record: EvaluationRecord | None) -> Iterator[Figure]:
    """Yield the most important metrics besides the accuracy."""
    manifest = current.manifest
    if record:
        evaluation, metrics = record.evaluation, record.evaluation.metrics
        control = manifest.risk_control
        for row in evaluation.selective:
            if control and row.risk == control.default_risk and row.reachable:
                meaning = f"got a label at a target error rate of {row.risk * 100:g} %"
                yield Figure("coverage", _percent(row.coverage.value), f"{meaning}; others: unsure")
                meaning = "of these labels were wrong"
                yield Figure("selective error", _percent(row.selective_error.value), meaning)
        yield Figure(
            "accuracy at 80 % coverage",
            _percent(evaluation.accuracy_at_80_coverage.value),
            f"of the 80 % most confident {manifest.nouns} got the right label",
        )
        meaning = "mean distance between the stated probability and the measured accuracy"
        yield Figure("calibration error", _percent(metrics.ece, 2), meaning)
        if evaluation.star_mae is not None:
            meaning = "mean distance between the predicted stars and those of the author"
            yield Figure("star MAE", f"{evaluation.star_mae:.2f}", meaning)
        meaning = "mean of the F1 scores of the labels (harmonic mean of precision and recall)"
        yield Figure("macro-F1", _percent(metrics.macro_f1, 2), meaning)
        if metrics.auroc is not None:
            first, last = manifest.labels[0], manifest.labels[-1]
            meaning = f"of pairs, one {last} and one {first}, are in the right order"
            yield Figure("AUROC", _percent(metrics.auroc, 2), meaning)
    yield Figure("model size", f"{current.size / 1e6:.1f} MB", "of the network")


def _percent(share: float, digits: int = 1) -> str:
    """Return `share` in percent, rounded as in the report; probabilities are rounded down."""
    return f"{share * 100:.{digits}f} %"


def _cacheable(text: str, mimetype: str) -> Response:
    """Return `text` as a response that browsers may cache but have to revalidate."""
    if request.accept_encodings["gzip"] > 0:
        response = Response(_compressed(text), mimetype=mimetype)
        response.content_encoding = "gzip"
    else:
        response = Response(text, mimetype=mimetype)
    response.vary.add("Accept-Encoding")
    response.headers["Content-Security-Policy"] = _POLICY
    # A sandboxed document may not isolate itself in its own browsing context group.
    response.headers["Cross-Origin-Opener-Policy"] = "unsafe-none"
    response.headers["Cache-Control"] = "private, no-cache"
    response.add_etag()
    response.make_conditional(request)
    return response


@lru_cache(maxsize=64)
def _compressed(text: str) -> bytes:
    return gzip.compress(text.encode(), mtime=0)
