"""Predictions for rows as arrays, and the figures of groups of rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reelsense.prediction import ERROR, UNSURE
from reelsense.report.results import Share, Z
from reelsense.summary.results import Estimate

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


class Counter:
    """Counts verdicts and ratings of rows by group. `focus` is the index of the compared label."""

    def __init__(self, scored: ScoredRows, focus: int) -> None:
        self.scored = scored
        self.is_decided = scored.verdicts < len(scored.labels)
        self.is_focus = scored.verdicts == focus

    def figures(self, codes: NDArray[np.intp], count: int) -> list[dict[str, Any]]:
        """Return the fields of `Figures` for each of `count` groups.

        `codes` contains the group of each row; -1: in no group.
        """
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
    ) -> dict[str, Any]:
        labels = self.scored.labels
        decided = sum(verdicts[: len(labels)])
        return {
            "rows": sum(verdicts),
            "coverage": Share.of(decided, decided + verdicts[len(labels)]),
            "shares": {label: Share.of(verdicts[n], decided) for n, label in enumerate(labels)},
            "stars": _mean(int(rated), sum_, squares) if rated else None,
        }

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
