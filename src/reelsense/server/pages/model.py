"""The page about the model that answers: its figures, what it is bad at, plots, card, report.

Card and report come from whoever made the bundle. The card is rendered without any HTML of its
own; the report and its plots are answered as they are, and may do nothing but look as they do.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from functools import lru_cache

from flask import Blueprint, Response, render_template, request
from werkzeug.exceptions import NotFound

from reelsense.bundle import Manifest
from reelsense.inference.calibration import decision_thresholds
from reelsense.server.model_holder import classifier
from reelsense.server.model_source import ClassifierProtocol
from reelsense.server.pages.card import Card, read_card
from reelsense.server.pages.report import ReportPage, read_report

blueprint = Blueprint("model_page", __name__)

_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    # Of the same origin, or its links would come without the cookie of who has signed in.
    "form-action 'none'; frame-ancestors 'none'; sandbox allow-same-origin"
)
"""Of report and plots, which carry their own styles."""

_NAMES = {"accuracy": "accuracy", "f1": "macro-F1"}
"""The metrics of a card as the report calls them."""


@blueprint.get("/model")
def model() -> str:
    """What the model can do, and what it cannot."""
    found = classifier()
    card = read_card(found.card)
    report = read_report(found.report) if found.report else None
    return render_template(
        "model.html",
        manifest=found.manifest,
        card=card,
        report=report,
        figures=_figures(found, card, report),
        risks=_thresholds_by_risk(found.manifest),
    )


@blueprint.get("/model/plots/<name>.svg")
def plot(name: str) -> Response:
    """A plot of the report."""
    found = read_report(_report()).plot(name)
    if found is None:
        raise NotFound("the report of this model has no such plot")
    return _kept(found.svg, "image/svg+xml")


@blueprint.get("/model/report")
def report() -> Response:
    """The whole report, as it was made."""
    return _kept(_report(), "text/html")


@blueprint.get("/model/MODEL_CARD.md")
def card() -> Response:
    """The source of the card, where the report looks for it."""
    return _kept(classifier().card, "text/plain")


def _report() -> str:
    found = classifier().report
    if not found:
        raise NotFound("there is no report in the bundle of this model")
    return found


@dataclass(frozen=True, slots=True)
class _RiskRow:
    """The decision thresholds at one risk."""

    risk: float
    scores: tuple[float | None, ...]
    """Of each length group, shortest texts first."""


def _thresholds_by_risk(manifest: Manifest) -> list[_RiskRow]:
    risks = manifest.risk_control.thresholds if manifest.risk_control else ()
    return [_RiskRow(each.risk, decision_thresholds(manifest, each.risk)) for each in risks]


def _figures(found: ClassifierProtocol, card: Card, report: ReportPage | None) -> dict[str, str]:
    """By name, those that a hurried reader looks for; from the card where there is no report."""
    figures = (
        dict(report.figures)
        if report
        else {_NAMES[name]: f"{value:.2%}" for name, value in card.metrics.items()}
    )
    control = found.manifest.risk_control
    if report and control and control.default_risk:
        risk = f"{control.default_risk * 100:g}%"
        if risk in report.decided:
            decided, wrong = report.decided[risk]
            figures[f"decided at a risk of {risk}; {wrong} of that is wrong"] = decided
    figures["the network"] = f"{found.size / 1e6:.1f} MB"
    return figures


def _kept(text: str, mimetype: str) -> Response:
    """Answer with `text`, which a browser may keep if it asks each time whether it is the same."""
    if request.accept_encodings["gzip"] > 0:
        answer = Response(_packed(text), mimetype=mimetype)
        answer.content_encoding = "gzip"
    else:
        answer = Response(text, mimetype=mimetype)
    answer.vary.add("Accept-Encoding")
    answer.headers["Content-Security-Policy"] = _POLICY
    # What is in a sandbox may not ask for a group of its own.
    answer.headers["Cross-Origin-Opener-Policy"] = "unsafe-none"
    answer.headers["Cache-Control"] = "private, no-cache"
    answer.add_etag()
    answer.make_conditional(request)
    return answer


@lru_cache(maxsize=64)
def _packed(text: str) -> bytes:
    return gzip.compress(text.encode(), mtime=0)
