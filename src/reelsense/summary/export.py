"""Write the groups of a summary as CSV."""

from __future__ import annotations

import csv
import io

from reelsense.summary.labels import display_order
from reelsense.summary.results import Figures, Group, Summary
from reelsense.tables.writing import cell


def to_csv(summary: Summary) -> str:
    """Return the groups as CSV, each figure with its interval; without groups, one row for all."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    intervals = [*display_order(summary.labels), "stars", "change"]
    names = [f"{name}{end}" for name in ("coverage", *intervals) for end in ("", "_low", "_high")]
    writer.writerow([cell(summary.group_column or "all"), "rows", *map(cell, names)])
    for group in summary.groups:
        writer.writerow([cell(group.value), group.rows, *_csv_figures(summary, group)])
    if summary.other:
        writer.writerow(["(other)", summary.other.rows, *_csv_figures(summary, summary.other)])
    if not summary.groups:
        writer.writerow(["", summary.total.rows, *_csv_figures(summary, summary.total)])
    return buffer.getvalue()


def _csv_figures(summary: Summary, figures: Figures) -> list[float | None]:
    estimates = [
        figures.coverage if figures.coverage.total else None,
        *(
            figures.shares[label] if figures.shares[label].total else None
            for label in display_order(summary.labels)
        ),
        figures.stars,
        figures.change if isinstance(figures, Group) else None,
    ]
    cells: list[float | None] = []
    for estimate in estimates:
        cells += [estimate.value, estimate.low, estimate.high] if estimate else [None] * 3
    return cells
