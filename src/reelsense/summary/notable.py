"""Rows of a table that are worth reading: typical, mixed, or rated differently by their author."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reelsense.summary.results import Notable, NotableRow
from reelsense.summary.scored import ScoredRows

MAX_EXCERPT = 300  # characters of a text
_COUNT = 3  # rows of each kind
_MIN_DIFFERENCE = 2.0  # stars between the prediction and the rating in the file


@dataclass(frozen=True, slots=True)
class ReadRow:
    """What is shown of a row that was scored."""

    text: str  # its beginning
    verdict: str
    label: str
    score: float
    stars: float | None


Reader = Callable[[Sequence[int]], Mapping[int, ReadRow]]  # returns rows by their numbers


def notable_rows(
    scored: ScoredRows,
    rows: NDArray[np.intp],
    own_stars: NDArray[np.float64] | None,
    read: Reader,
) -> Notable:
    """Return the rows worth reading.

    Args:
        scored: The predictions (n).
        rows: Their row numbers (n), in ascending order.
        own_stars: The ratings in the file (n); None: it has none.
        read: Returns some of the rows.
    """
    is_scored = ~np.isnan(scored.scores)
    decided = scored.verdicts[scored.verdicts < len(scored.labels)]
    typical = mixed = differing = np.array([], np.intp)
    if len(decided):
        is_usual = scored.verdicts == np.bincount(decided).argmax()
        figures = scored.scores if np.isnan(scored.stars).all() else scored.stars
        typical = _lowest(np.abs(figures - figures[is_usual].mean()), is_usual)
    if is_scored.any():
        mixed = _lowest(scored.scores, is_scored)
    if own_stars is not None:
        gaps = np.abs(scored.stars - own_stars)
        differing = _lowest(-gaps, gaps >= _MIN_DIFFERENCE)
    described = read(rows[np.concatenate([typical, mixed, differing])].tolist())

    def notable(positions: NDArray[np.intp]) -> list[NotableRow]:
        return [
            NotableRow(
                n=n,
                text=described[n].text,
                verdict=described[n].verdict,
                label=described[n].label,
                score=described[n].score,
                stars=described[n].stars,
                own_stars=None if own_stars is None else _optional(own_stars[position]),
            )
            for position, n in zip(positions.tolist(), rows[positions].tolist(), strict=True)
            if n in described
        ]

    return Notable(typical=notable(typical), mixed=notable(mixed), differing=notable(differing))


def _lowest(keys: NDArray[np.float64], eligible: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the positions of the lowest keys among the eligible rows, the lowest first."""
    positions = np.flatnonzero(eligible & ~np.isnan(keys))
    return positions[np.argsort(keys[positions], kind="stable")[:_COUNT]]


def _optional(number: float) -> float | None:
    return None if np.isnan(number) else float(number)
