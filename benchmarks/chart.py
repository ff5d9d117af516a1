"""Draw the bar charts of RESULTS.md: reviews per second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from sections import REELSENSE, ServerResults, by_rate, rate

PLACE = Path(__file__).resolve().parents[1] / "docs" / "images" / "serving.png"

_BLUE, _GREY = "#0072b2", "#8a8f98"  # Okabe and Ito, as in the plots of the report
_STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 10,
    "hatch.linewidth": 2,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.bottom": False,
}
_HATCH: Any = {"edgecolor": "white", "linewidth": 0}


@dataclass(frozen=True, slots=True)
class Row:
    """A bar and its name."""

    name: str
    rate: float
    ours: bool
    marked: bool


def draw(results: Sequence[ServerResults], clients: int, cores: int, path: Path = PLACE) -> None:
    """Draw the reviews per second of each server with `clients` clients, the fastest on top."""
    cell = str(clients)
    rows = [
        Row(
            result.server.name,
            mean,
            ours=result.server.key == REELSENSE,
            marked=bool(result.mark),
        )
        for result in by_rate(results, cell)
        if (mean := result.mean(cell, rate))
    ]
    title = f"Untruncated movie reviews per second, {cores} cores, {clients} clients"
    draw_rows(rows, title, "truncated at 512 tokens / different labels", path)


def draw_rows(rows: Sequence[Row], title: str, mark: str, path: Path) -> None:
    """Draw `rows` from the top; the legend explains the hatching of marked rows with `mark`."""
    places = range(len(rows), 0, -1)
    rates = [row.rate for row in rows]
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(8, 1.1 + 0.36 * len(rows)), layout="constrained")
        axes = figure.subplots()
        bars = axes.barh(
            places,
            rates,
            height=0.7,
            color=[_BLUE if row.ours else _GREY for row in rows],
            hatch=["//" if row.marked else "" for row in rows],
            **_HATCH,
        )
        axes.bar_label(bars, [f"{value:.1f}" for value in rates], padding=4)
        axes.set_yticks(places, [row.name for row in rows])
        axes.tick_params(left=False, bottom=False, labelbottom=False)
        axes.set_xlim(0, 1.1 * max(rates, default=1))
        figure.suptitle(title, fontweight="bold")
        if any(row.marked for row in rows):
            hatched = Patch(facecolor=_GREY, hatch="//", label=mark, **_HATCH)
            figure.legend(handles=[hatched], loc="outside lower right", frameon=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150, metadata={"Software": None})
