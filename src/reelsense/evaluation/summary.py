"""Render evaluation results and calibration as tables for the terminal."""

from __future__ import annotations

import re
from typing import Any

from reelsense.bundle import Manifest
from reelsense.report.page import template
from reelsense.report.results import DELETION_SHARES, ClassificationMetrics, Evaluation

_SEPARATOR = " :: "  # between name and value of a row in the templates


def as_text(evaluation: Evaluation) -> str:
    """Return all results, as tables separated by blank lines."""
    return _render(
        "summary.txt.jinja",
        e=evaluation,
        confusion=_confusion(evaluation.metrics),
        deletion_shares=", ".join(f"{share:.0%}" for share in DELETION_SHARES),
    )


def calibration_as_text(manifest: Manifest) -> str:
    """Return the calibration and decision thresholds of a model, as tables."""
    return _render("calibration.txt.jinja", manifest=manifest)


def _render(name: str, **values: Any) -> str:
    text = template("reelsense.evaluation", name).render(values)
    return "\n\n".join(_aligned(table) for table in re.split(r"\n{2,}", text.strip("\n")))


def _aligned(table: str) -> str:
    """Replace the separators in the rows of `table` by spaces that align the values."""
    rows = [line.partition(_SEPARATOR) for line in table.split("\n")]
    width = max((len(name) for name, separator, _ in rows if separator), default=0)
    return "\n".join(
        f"{name:<{width}}  {value}" if separator else name for name, separator, value in rows
    )


def _confusion(metrics: ClassificationMetrics) -> str:
    width = max(9, *map(len, metrics.labels))
    columns = " ".join(f"{label:>{width}}" for label in metrics.labels)
    lines = [f"{'true / predicted':<{width + 10}} {columns}"]
    for label, counts in zip(metrics.labels, metrics.confusion, strict=True):
        lines.append(f"{label:<{width + 10}} " + " ".join(f"{n:>{width},}" for n in counts))
    return "\n".join(lines)
