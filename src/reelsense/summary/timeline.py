"""Figures over time: by day, month or year, and how a share changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from reelsense.report.results import Share
from reelsense.summary.columns import Column
from reelsense.summary.results import Estimate, Period, Trend
from reelsense.summary.scored import Counter, difference

_MAX_PERIODS = 36  # of a trend; with more, the periods are longer
_PERIODS = (10, 7, 4)  # characters of the date that name a day, a month or a year


@dataclass(frozen=True, slots=True)
class Timeline:
    """The periods of the rows."""

    names: Sequence[str]
    codes: NDArray[np.intp]  # (rows) indices into `names`; -1: no date
    split: int  # index of the period that begins the later half of the rows
    counter: Counter

    def trend(self, column: str) -> Trend:
        """Return the figures of each period."""
        figures = self.counter.figures(self.codes, len(self.names))
        [change] = self.changes(np.zeros(len(self.codes), np.intp), 1)
        periods = [
            Period(period=name, **fields) for name, fields in zip(self.names, figures, strict=True)
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


def timeline_of(column: Column, rows: NDArray[np.intp], counter: Counter) -> Timeline | None:
    """Return the days, months or years of the rows; None: all in one, or no dates."""
    codes = column.codes[rows]
    dates = column.dates
    present = {n: moment for n in np.unique(codes).tolist() if (moment := dates[n])}
    if not present:
        return None
    has_days = any(len(column.values[n]) > len("2026-11") for n in present)
    length = _period_length(min(present.values()), max(present.values()), has_days=has_days)
    names = sorted({moment.isoformat()[:length] for moment in present.values()})
    if len(names) < 2:
        return None
    numbers = {name: n for n, name in enumerate(names)}
    by_value = np.array(
        [numbers.get(moment.isoformat()[:length], -1) if moment else -1 for moment in dates]
    )
    periods = by_value[codes]
    cumulated = np.cumsum(np.bincount(periods[periods >= 0], minlength=len(names)))
    split = int(np.searchsorted(cumulated, cumulated[-1] / 2)) + 1
    return Timeline(names, periods, min(split, len(names) - 1), counter)


def _period_length(first: date, last: date, *, has_days: bool) -> int:
    """Return how many characters of dates between `first` and `last` name a period."""
    months = 12 * (last.year - first.year) + last.month - first.month
    day, month, year = _PERIODS
    if has_days and (last - first).days < _MAX_PERIODS:
        return day
    return month if months < _MAX_PERIODS else year
