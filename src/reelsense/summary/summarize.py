"""Compute the summary of a scored table, from arrays with one element per row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from reelsense.prediction import ERROR, UNSURE
from reelsense.report.results import Share, Z
from reelsense.summary.aspects import Mention, summarize_aspects
from reelsense.summary.columns import Column, Kind, default_group, first_of_kind
from reelsense.summary.findings import findings
from reelsense.summary.labels import display_order
from reelsense.summary.notable import Reader, notable_rows
from reelsense.summary.results import Estimate, Figures, Group, Period, Summary, Trend

MAX_GROUPS = 1000  # that are listed
_MAX_PERIODS = 36  # of a trend; with more, the periods are longer
_PERIODS = (10, 7, 4)  # characters of the date that name a day, a month or a year
MIN_STARS, MAX_STARS = 1, 10


@dataclass(frozen=True, slots=True)
class ScoredRows:
    """The predictions for the rows of a table."""

    labels: tuple[str, ...]
    verdicts: NDArray[np.intp]
    """(rows) Indices into `kinds`."""
    scores: NDArray[np.float64]
    """(rows) Probabilities of the most probable labels; NaN: not scored."""
    stars: NDArray[np.float64]
    """(rows) Predicted ratings; NaN: none."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """The possible verdicts: the labels, unsure, and error for rows that were not scored."""
        return (*self.labels, UNSURE, ERROR)

    @classmethod
    def of(
        cls,
        labels: Sequence[str],
        verdicts: Sequence[str | None],
        scores: Sequence[float | None],
        stars: Sequence[float | None],
    ) -> ScoredRows:
        """Return the arrays of the values in a table; None: not scored."""
        count = len(labels)
        kinds: dict[str | None, int] = {UNSURE: count, None: count + 1}
        kinds |= {label: n for n, label in enumerate(labels)}
        codes = np.array([kinds[verdict] for verdict in verdicts], np.intp)
        return cls(tuple(labels), codes, np.array(scores, float), np.array(stars, float))

    def has_verdict(self, verdict: str) -> NDArray[np.bool_]:
        """Return which rows have a verdict: a label, unsure or error."""
        if verdict not in self.kinds:
            return np.zeros(len(self.verdicts), bool)
        return np.equal(self.verdicts, self.kinds.index(verdict))

    def take(self, rows: NDArray[np.intp]) -> ScoredRows:
        """Return the predictions for some of the rows."""
        return ScoredRows(
            self.labels,
            self.verdicts[rows],
            self.scores[rows],
            self.stars[rows],
        )


@dataclass(frozen=True, slots=True)
class Table:
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
    table: Table,
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
    counter = _Counter(scored, scored.labels.index(label))
    timeline = _timeline(table.load(dates), rows, counter) if dates else None
    groups: list[Group] = []
    other = None
    if group_column is not None:
        groups, other = _groups(table.load(group_column), rows, counter, timeline)
    own_stars = first_of_kind(table.kinds, "stars") if not np.isnan(scored.stars).all() else None
    given = _row_values(table.load(own_stars), rows) if own_stars else None
    total = np.bincount(scored.verdicts, minlength=len(scored.kinds))
    ratings = scored.stars[~np.isnan(scored.stars)]
    rounded = np.bincount((ratings + 0.5).astype(np.intp), minlength=MAX_STARS + 1)
    summary = Summary(
        findings=[],
        labels=list(scored.labels),
        label=label,
        total=counter.figures(np.zeros(len(rows), np.intp), 1)[0],
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


def _row_values(column: Column, rows: NDArray[np.intp]) -> NDArray[np.float64]:
    return column.stars[column.codes[rows]]


class _Counter:
    """Counts verdicts and ratings of rows by group. `focus` is the index of the compared label."""

    def __init__(self, scored: ScoredRows, focus: int) -> None:
        self.scored = scored
        self.is_decided = scored.verdicts < len(scored.labels)
        self.is_focus = scored.verdicts == focus

    def figures(self, codes: NDArray[np.intp], count: int) -> list[Figures]:
        """Return the figures of `count` groups, given the group of each row; -1: in no group."""
        scored = self.scored
        kept = codes >= 0
        codes, verdicts, stars = codes[kept], scored.verdicts[kept], scored.stars[kept]
        width = len(scored.kinds)
        verdict_counts = np.bincount(codes * width + verdicts, minlength=count * width)
        rated = ~np.isnan(stars)
        ratings = [
            np.bincount(codes[rated], weights=stars[rated] ** power, minlength=count).tolist()
            for power in (0, 1, 2)
        ]
        return [
            self._figures(verdicts_of_group, *ratings_of_group)
            for verdicts_of_group, *ratings_of_group in zip(
                verdict_counts.reshape(count, width).tolist(), *ratings, strict=True
            )
        ]

    def _figures(
        self, verdicts: Sequence[int], rated: float, sum_: float, squares: float
    ) -> Figures:
        labels = self.scored.labels
        decided = sum(verdicts[: len(labels)])
        return Figures(
            rows=sum(verdicts),
            coverage=Share.of(decided, decided + verdicts[len(labels)]),
            shares={label: Share.of(verdicts[n], decided) for n, label in enumerate(labels)},
            stars=_mean(int(rated), sum_, squares) if rated else None,
        )

    def counts(
        self, codes: NDArray[np.intp], count: int
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return the rows of each group with the compared label as verdict, and with a verdict."""
        kept = codes >= 0
        return (
            np.bincount(codes[kept & self.is_focus], minlength=count),
            np.bincount(codes[kept & self.is_decided], minlength=count),
        )


def _mean(count: int, sum_: float, squares: float) -> Estimate:
    """Return the mean of ratings with its normal interval; one rating: the whole scale."""
    mean = sum_ / count
    if count == 1:
        return Estimate(mean, MIN_STARS, MAX_STARS)
    variance = max(0.0, squares - sum_ * mean) / (count - 1)
    margin = Z * sqrt(variance / count)
    return Estimate(mean, max(MIN_STARS, mean - margin), min(MAX_STARS, mean + margin))


def difference(later: Share, before: Share) -> Estimate | None:
    """Return the difference of two shares with Newcombe's interval; None: nothing to compare."""
    if not later.total or not before.total:
        return None
    value = later.value - before.value
    below = sqrt((later.value - later.low) ** 2 + (before.high - before.value) ** 2)
    above = sqrt((later.high - later.value) ** 2 + (before.value - before.low) ** 2)
    return Estimate(value, value - below, value + above)


@dataclass(frozen=True, slots=True)
class _Timeline:
    """The periods of the rows."""

    names: Sequence[str]
    codes: NDArray[np.intp]  # (rows) indices into `names`; -1: no date
    split: int  # index of the period that begins the later half of the rows
    counter: _Counter

    def trend(self, column: str) -> Trend:
        """Return the figures of each period."""
        figures = self.counter.figures(self.codes, len(self.names))
        [change] = self.changes(np.zeros(len(self.codes), np.intp), 1)
        periods = [
            Period(
                period=name,
                rows=of_period.rows,
                coverage=of_period.coverage,
                shares=of_period.shares,
                stars=of_period.stars,
            )
            for name, of_period in zip(self.names, figures, strict=True)
        ]
        return Trend(column=column, periods=periods, split=self.names[self.split], change=change)

    def changes(self, groups: NDArray[np.intp], count: int) -> list[Estimate | None]:
        """Return for each group how the share changed from the earlier to the later half."""
        halves = np.where(self.codes < 0, -1, groups * 2 + (self.codes >= self.split))
        focus, decided = (
            part.reshape(count, 2).tolist() for part in self._counts(halves, 2, count)
        )
        return [
            difference(Share.of(of[1], total[1]), Share.of(of[0], total[0]))
            for of, total in zip(focus, decided, strict=True)
        ]

    def shares(self, groups: NDArray[np.intp], count: int) -> list[list[float | None]]:
        """Return for each group the share in each period; None: no verdicts."""
        width = len(self.names)
        codes = np.where(self.codes < 0, -1, groups * width + self.codes)
        focus, decided = (
            part.reshape(count, width).tolist() for part in self._counts(codes, width, count)
        )
        return [
            [number / total if total else None for number, total in zip(*of_group, strict=True)]
            for of_group in zip(focus, decided, strict=True)
        ]

    def _counts(
        self, codes: NDArray[np.intp], width: int, count: int
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        return self.counter.counts(codes, width * count)


def _timeline(column: Column, rows: NDArray[np.intp], counter: _Counter) -> _Timeline | None:
    """Return the days, months or years of the rows; None: all in one, or no dates."""
    codes = column.codes[rows]
    occurs = np.bincount(codes, minlength=len(column.values)) > 0
    dates = column.dates
    present = [moment for moment, n in zip(dates, occurs.tolist(), strict=True) if n and moment]
    if not present:
        return None
    length = _period_length(min(present), max(present))
    names = sorted({moment.isoformat()[:length] for moment in present})
    if len(names) < 2:
        return None
    numbers = {name: n for n, name in enumerate(names)}
    by_value = np.array(
        [numbers.get(moment.isoformat()[:length], -1) if moment else -1 for moment in dates]
    )
    periods = by_value[codes]
    cumulated = np.cumsum(np.bincount(periods[periods >= 0], minlength=len(names)))
    split = int(np.searchsorted(cumulated, cumulated[-1] / 2)) + 1
    return _Timeline(names, periods, min(split, len(names) - 1), counter)


def _period_length(first: date, last: date) -> int:
    """Return how many characters of dates between `first` and `last` name a period."""
    months = 12 * (last.year - first.year) + last.month - first.month
    day, month, year = _PERIODS
    if (last - first).days < _MAX_PERIODS:
        return day
    return month if months < _MAX_PERIODS else year


def _groups(
    column: Column, rows: NDArray[np.intp], counter: _Counter, timeline: _Timeline | None
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
        Group(
            value=column.values[largest[n]],
            rows=of_group.rows,
            coverage=of_group.coverage,
            shares=of_group.shares,
            stars=of_group.stars,
            trend=trends[n],
            change=changes[n],
        )
        for n, of_group in enumerate(figures)
    ]
    return listed, other if other.rows else None
