"""The picture of RESULTS.md: reviews a second of each server, as bars."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from sections import OURS, Standing, by_rate, rate

PLACE = Path(__file__).resolve().parents[1] / "docs" / "images" / "serving.png"

_BLUE, _GREY = "#0072b2", "#8a8f98"  # Okabe and Ito, as in the report's pictures
_STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 10,
    "hatch.linewidth": 2,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.bottom": False,
}


def draw(standings: Sequence[Standing], clients: int, cores: int, path: Path = PLACE) -> None:
    """Draw who answers how many reviews a second at `clients` clients, the fastest on top."""
    cell = str(clients)
    shown = [each for each in by_rate(standings, cell) if each.mean(cell, rate)]
    rates = [each.mean(cell, rate) or 0.0 for each in shown]
    places = range(len(shown), 0, -1)
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(8, 1.1 + 0.36 * len(shown)), layout="constrained")
        axes = figure.subplots()
        bars = axes.barh(
            places,
            rates,
            height=0.7,
            color=[_BLUE if each.server.key == OURS else _GREY for each in shown],
            hatch=["//" if each.mark else "" for each in shown],
            edgecolor="white",
            linewidth=0,
        )
        axes.bar_label(bars, [f"{value:.1f}" for value in rates], padding=4)
        axes.set_yticks(places, [each.server.name for each in shown])
        axes.tick_params(left=False, bottom=False, labelbottom=False)
        axes.set_xlim(0, 1.1 * max(rates, default=1))
        figure.suptitle(
            f"Whole movie reviews answered a second, {cores} cores, {clients} clients",
            fontweight="bold",
        )
        if any(each.mark for each in shown):
            hatched = Patch(
                facecolor=_GREY,
                edgecolor="white",
                linewidth=0,
                hatch="//",
                label="cut at 512 tokens / different labels",
            )
            figure.legend(handles=[hatched], loc="outside lower right", frameon=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150, metadata={"Software": None})
