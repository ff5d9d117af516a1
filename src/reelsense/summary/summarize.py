"""Compute the summary of a scored table, from arrays with one element per row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from reelsense.summary.aspects import Mention, summarize_aspects
from reelsense.summary.columns import Column, Kind, default_group, first_of_kind
from reelsense.summary.findings import findings
from reelsense.summary.labels import display_order
from reelsense.summary.notable import Reader, notable_rows
from reelsense.summary.results import Figures, Group, Summary
from reelsense.summary.scored import MAX_STARS, MIN_STARS, Counter, ScoredRows
from reelsense.summary.timeline import Timeline, timeline_of

MAX_GROUPS = 1000  # that are listed


@dataclass(frozen=True, slots=True)
class ScoredTable:
    """A scored table to summarize."""

    scored: ScoredRows
    kinds: Mapping[str, Kind]
    """The columns that can be grouped, in the order of the file."""
    load: Callable[[str], Column]
    """Returns one of them."""
    mentions: Sequence[Mention] | None
    """None: the model does not predict the sentiment of aspects."""
    step: int
    """Aspects were searched in the rows whose number is divisible by this."""
    read: Reader
    """Returns some of its rows."""


def summarize(
    table: ScoredTable,
    rows: NDArray[np.intp] | None = None,
    group_column: str | None = None,
    label: str | None = None,
) -> Summary:
    """Return the summary of some rows of a table.

    Args:
        table: The scored table.
        rows: Numbers of the rows to include, in ascending order; None: all.
        group_column: One of the columns of the table; None: a suitable one.
        label: The label whose share is compared; None: positive, or the first one.
    """
    if rows is None:
        rows = np.arange(len(table.scored.verdicts))
    scored = table.scored.take(rows)
    label = label or display_order(scored.labels)[0]
    if group_column is None:
        group_column = default_group(table.kinds.items())
    dates = first_of_kind(table.kinds, "date")
    counter = Counter(scored, scored.labels.index(label))
    timeline = timeline_of(table.load(dates), rows, counter) if dates else None
    groups: list[Group] = []
    other = None
    if group_column is not None:
        groups, other = _groups(table.load(group_column), rows, counter, timeline)
    own_stars = first_of_kind(table.kinds, "stars") if not np.isnan(scored.stars).all() else None
    given = table.load(own_stars).stars_of(rows) if own_stars else None
    total = np.bincount(scored.verdicts, minlength=len(scored.kinds))
    ratings = scored.stars[~np.isnan(scored.stars)]
    rounded = np.bincount((ratings + 0.5).astype(np.intp), minlength=MAX_STARS + 1)
    summary = Summary(
        findings=[],
        labels=list(scored.labels),
        label=label,
        total=Figures(**counter.figures(np.zeros(len(rows), np.intp), 1)[0]),
        verdicts=dict(zip(scored.kinds, total.tolist(), strict=True)),
        stars={str(n): int(rounded[n]) for n in range(MIN_STARS, MAX_STARS + 1)}
        if len(ratings)
        else {},
        columns=list(table.kinds),
        group_column=group_column,
        groups=groups,
        other=other,
        trend=timeline.trend(dates) if timeline and dates else None,
        stars_column=own_stars,
        aspects=None
        if table.mentions is None
        else summarize_aspects(table.mentions, rows[rows % table.step == 0]),
        notable=notable_rows(scored, rows, given, table.read),
    )
    return replace(summary, findings=findings(summary))


def _groups(
    column: Column, rows: NDArray[np.intp], counter: Counter, timeline: Timeline | None
) -> tuple[list[Group], Figures | None]:
    """Return the largest groups, and the figures of the rows in other ones."""
    codes = column.codes[rows]
    sizes = np.bincount(codes, minlength=len(column.values))
    order = np.argsort(-sizes, kind="stable")
    largest = order[: min(MAX_GROUPS, np.count_nonzero(sizes))]
    count = len(largest)
    by_value = np.full(len(column.values), count)  # the last group: all others
    by_value[largest] = np.arange(count)
    groups = by_value[codes]
    *figures, other = counter.figures(groups, count + 1)
    trends = timeline.shares(groups, count + 1) if timeline else [[] for _ in figures]
    changes = timeline.changes(groups, count + 1) if timeline else [None] * count
    listed = [
        Group(value=column.values[largest[n]], trend=trends[n], change=changes[n], **fields)
        for n, fields in enumerate(figures)
    ]
    return listed, Figures(**other) if other["rows"] else None
