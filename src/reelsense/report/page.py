"""Render the report: a self-contained HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from statistics import median
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from reelsense.bundle import Manifest
from reelsense.report.record import EvaluationRecord
from reelsense.report.results import (
    ALL_CATEGORIES,
    AUDITED,
    DELETION_SHARES,
    Share,
)
from reelsense.text.clean import LONE_SURROGATE, clean

# Titles of the sections of the report by id, in order.
SECTIONS = {
    "metrics": "Metrics",
    "probabilities": "Calibration",
    "unsure": "Coverage and selective error",
    "labels": "Label errors",
    "slices": "Accuracy by length",
    "robustness": "Robustness",
    "behaviours": "Behaviours",
    "fairness": "Fairness",
    "explanations": "Explanations",
    "comparison": "Comparison",
    "mistakes": "Worst mistakes",
    "training": "Training",
}


def render_report(record: EvaluationRecord, manifest: Manifest) -> str:
    """Return the report on `record` and the `manifest` of the evaluated model as an HTML page."""
    evaluation = record.evaluation
    has_results: dict[str, Any] = {
        "robustness": evaluation.label_changes,
        "behaviours": evaluation.behaviours,
        "fairness": evaluation.identity,
        "explanations": evaluation.explanations,
        "comparison": evaluation.comparison,
    }
    text = template("reelsense.report", "report.html.jinja").render(
        record=record,
        manifest=manifest,
        e=evaluation,
        sections={name: title for name, title in SECTIONS.items() if has_results.get(name, True)},
        # Markup: matplotlib has escaped all text in the plots.
        plots={plot.name: (Markup(plot.svg), plot.caption) for plot in record.plots},  # noqa: S704
        audited=AUDITED,
        deletion_shares=DELETION_SHARES,
        summary=summary_sentences(record, manifest),
    )
    return LONE_SURROGATE.sub("\ufffd", text)


@lru_cache
def template(package: str, name: str) -> Any:
    """Return the template `name` of `package`, with the filters of reports and model cards."""
    environment = Environment(
        loader=PackageLoader(package),
        autoescape=select_autoescape(["html.jinja"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": percent,
        "risk": lambda risk: f"{risk * 100:g}%",
        "thresholds": _thresholds,
        "met": _met,
        "p_value": lambda p: "< 0.0001" if p < 0.0001 else f"= {p:.4f}",
        "clean": clean,
        "median": median,
    }
    return environment.get_template(name)


def percent(share: float, digits: int = 1) -> str:
    """Return `share` in percent, such as "12.3%"."""
    return f"{share * 100:.{digits}f}%"


def _thresholds(thresholds: Sequence[float | None]) -> str:
    special = {None: "unreachable", 0.0: "any"}
    return " / ".join(special.get(value) or percent(value or 0) for value in thresholds)


def _met(share: Share, target: float | None) -> str:
    if target is None:
        return ""
    met = ("met" if share.value <= target else "missed") if share.total else "not measured"
    return f"at most {target:.0%}: {met}"


def summary_sentences(record: EvaluationRecord, manifest: Manifest) -> list[str]:
    """Return the most important results, good and bad, as sentences."""
    evaluation, control = record.evaluation, manifest.risk_control
    metrics = evaluation.metrics
    sentences = [manifest.abstention()] if manifest.abstention() else []
    sentences += [
        f"Accuracy: {percent(metrics.accuracy)} on {metrics.reviews:,} {manifest.nouns}; "
        f"{percent(evaluation.accuracy_at_80_coverage.value)} at 80% coverage.",
        f"Expected calibration error: {percent(metrics.ece, 2)}.",
    ]
    sentences += [
        f"At a target error rate of {row.risk * 100:g}%, coverage is {percent(row.coverage.value)} "
        f"and the selective error is {percent(row.selective_error.value)}."
        for row in evaluation.selective
        if control and row.risk == control.default_risk and row.coverage.count
    ]
    if evaluation.single_sentences:
        accuracy = percent(evaluation.single_sentences.accuracy.value)
        sentences.append(f"Accuracy on single sentences by critics: {accuracy}.")
    sentences += [
        f"Accuracy on the edited halves of the {pair.name}: {percent(pair.edits.value)}."
        for pair in evaluation.pairs
    ]
    if evaluation.explanations and (ratio := evaluation.explanations.deletion.ratio):
        sentences.append(
            f"Deleting the sentence with the largest weight changes the log-odds {ratio:.1f} times "
            "as much as deleting another one of similar length."
        )
    behaviours = evaluation.behaviours.errors if evaluation.behaviours else []
    missed = [
        f"{row.name} ({percent(row.errors.value)}, target {row.target:.0%})"
        for row in behaviours
        if row.target is not None and row.errors.value > row.target
    ]
    if missed:
        sentences.append(f"Behaviours with more errors than the target: {', '.join(missed)}.")
    sentences += [
        f"Predictions are sensitive to identity terms: the probability of "
        f"{percent(row.changed.value)} of the template sentences changes by more than 0.1 with a "
        "term that training does not use."
        for row in evaluation.identity
        if (row.category, row.terms, row.source) == (ALL_CATEGORIES, "held-out", "templates")
        and row.changed.count
    ]
    return sentences
