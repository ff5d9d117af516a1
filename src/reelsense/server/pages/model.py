"""The page about the model: metrics, limitations, plots, model card and evaluation report.

All of it but the drift is rendered from the bundle. Does not know how models are evaluated.
"""

from __future__ import annotations

import gzip
import logging
from functools import lru_cache
from weakref import WeakKeyDictionary

from flask import Blueprint, Response, render_template, request
from werkzeug.exceptions import NotFound

from reelsense.bundle import Manifest
from reelsense.errors import BundleError
from reelsense.inference.calibration import decision_thresholds
from reelsense.report.page import SECTIONS, render_report
from reelsense.report.record import EvaluationRecord
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


def _figures(current: ClassifierProtocol, record: EvaluationRecord | None) -> dict[str, str]:
    """Return the most important metrics by name, formatted."""
    figures = {}
    if record:
        evaluation, metrics = record.evaluation, record.evaluation.metrics
        figures = {
            "accuracy": f"{metrics.accuracy:.2%}",
            "macro-F1": f"{metrics.macro_f1:.2%}",
            "calibration error": f"{metrics.ece:.2%}",
            "accuracy at 80% coverage": f"{evaluation.accuracy_at_80_coverage.value:.1%}",
        }
        if metrics.auroc is not None:
            figures["AUROC"] = f"{metrics.auroc:.4f}"
        if evaluation.star_mae is not None:
            figures["star MAE"] = f"{evaluation.star_mae:.2f}"
        control = current.manifest.risk_control
        for row in evaluation.selective:
            if control and row.risk == control.default_risk and row.reachable:
                target = f"at a target error rate of {row.risk * 100:g}%"
                figures[f"coverage {target}"] = f"{row.coverage.value:.1%}"
                figures[f"selective error {target}"] = f"{row.selective_error.value:.1%}"
    elif (accuracy := current.manifest.test_accuracy) is not None:
        figures["accuracy"] = f"{accuracy:.2%}"
    figures["model size"] = f"{current.size / 1e6:.1f} MB"
    return figures


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
