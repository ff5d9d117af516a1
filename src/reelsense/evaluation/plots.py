"""The report's pictures, as SVG text: readable in print, in grey and for the colour-blind.

Colours are those of Okabe and Ito (2008, "Color Universal Design"); shapes say the same again.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reelsense.evaluation.explanations import SHARES, Ranking
from reelsense.evaluation.fairness import TOLERANCE, IdentityChanges
from reelsense.evaluation.metrics import ECE_BINS, Share, share
from reelsense.evaluation.predictions import LabelledPredictions
from reelsense.evaluation.robustness import LabelChanges
from reelsense.evaluation.selective import SelectiveResult, accuracy_by_coverage
from reelsense.evaluation.slices import Slice

_BLUE, _ORANGE, _GREEN, _GREY = "#0072b2", "#d55e00", "#009e73", "#8a8f98"

_COLOURS = (_BLUE, _ORANGE, _GREY, _GREEN, "#cc79a7")

_STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: small, sharp, and read aloud
    "svg.hashsalt": "reelsense",  # the same figures give the same file
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e3e5e8",
}

_TERMS = 8
"""Identity terms shown from either end."""

_POINTS = 300
"""Points of a curve: more cannot be seen."""


def reliability(predictions: LabelledPredictions) -> str:
    """How often answers of a probability are right; on the diagonal it means what it says."""
    figure, (axes, counts) = _figure(5, 4.4, rows=(3, 1))
    edges = np.linspace(0, 1, ECE_BINS + 1)
    bins = np.minimum((predictions.confidence * ECE_BINS).astype(int), ECE_BINS - 1)
    sizes = np.bincount(bins, minlength=ECE_BINS)
    full = np.flatnonzero(sizes)
    confidence = np.bincount(bins, predictions.confidence, ECE_BINS)[full] / sizes[full]
    lowest = edges[full[0]]
    axes.plot([lowest, 1], [lowest, 1], "--", color=_GREY, label="as it should be")
    hits = np.bincount(bins, predictions.correct, ECE_BINS)
    margins = [_margins(share(int(hits[n]), int(sizes[n]))) for n in full]
    axes.errorbar(
        confidence,
        hits[full] / sizes[full],
        np.transpose(margins),
        fmt="o",
        color=_BLUE,
        capsize=3,
        label="measured, with 95% intervals",
    )
    axes.set(ylabel="share that is right", xlim=(lowest, 1.01))
    axes.legend(frameon=False, loc="upper left")
    counts.bar(edges[full], sizes[full] / sizes.sum(), 1 / ECE_BINS, align="edge", color=_GREY)
    counts.set(xlabel="probability of the answer", ylabel="of all", xlim=(lowest, 1.01))
    _percent(axes, "xy")
    _percent(counts, "xy")
    return _svg(figure)


def coverage(predictions: LabelledPredictions, decided: Sequence[SelectiveResult]) -> str:
    """Accuracy of the surest answers against their share, with the thresholds marked."""
    figure, (axes,) = _figure(5, 3.4)
    shares, accuracy = accuracy_by_coverage(predictions)
    start = np.searchsorted(shares, 0.1)  # before it a single answer moves the curve
    shown = np.unique(np.linspace(start, len(shares) - 1, _POINTS).astype(int))
    axes.plot(shares[shown], accuracy[shown], color=_BLUE)
    marked = [each for each in decided if any(each.thresholds) and each.decided.count]
    for each in marked:
        place = (each.decided.value, 1 - each.wrong.value)
        axes.plot(*place, "D", color=_ORANGE, markersize=6)
        axes.annotate(
            f"risk {each.risk * 100:g}%", place, (-6, -13), textcoords="offset points", ha="right"
        )
    axes.set(xlabel="share of the answers that is decided", ylabel="accuracy among them")
    _percent(axes, "xy")
    return _svg(figure)


def accuracy_of(slices: Sequence[Slice], what: str) -> str:
    """Accuracy of each part, with its interval."""
    figure, (axes,) = _figure(5, 3)
    _intervals(axes, [each.accuracy for each in slices])
    axes.set_xticks(range(len(slices)), [each.name for each in slices], rotation=30)
    axes.set(xlabel=what, ylabel="accuracy")
    _percent(axes, "y")
    return _svg(figure)


def flip_shares(found: Sequence[LabelChanges]) -> str:
    """Share of answers that each perturbation flips."""
    figure, (axes,) = _figure(5, 0.6 + 0.42 * len(found))
    places = np.arange(len(found))[::-1]
    values = np.array([each.flips.value for each in found])
    margins = np.array([_margins(each.flips) for each in found]).T
    axes.barh(places, values, xerr=margins, color=_BLUE, capsize=3, height=0.6)
    axes.set_yticks(places, [each.name for each in found])
    axes.set(xlabel="answers that flip")
    _percent(axes, "x")
    return _svg(figure)


def identity_shifts(found: IdentityChanges) -> str:
    """Mean difference to the median term: the least and the most positive terms of a category."""
    low, high = found.shifts[:_TERMS], found.shifts[_TERMS:][-_TERMS:]
    shown = [*low, *high]
    figure, (axes,) = _figure(5, 0.7 + 0.26 * len(shown))
    places = np.arange(len(shown))
    values = np.array([each.shift for each in shown])
    axes.axvspan(-TOLERANCE, TOLERANCE, color="#e9f3ee")
    axes.hlines(places, 0, values, color=_GREY, linewidth=1)
    axes.plot(values, places, "o", color=_GREEN)
    axes.set_yticks(places, [each.term for each in shown])
    widest = max(2 * TOLERANCE, float(np.abs(values).max()) * 1.1)
    axes.set(xlabel="probability of positive, less that of the median term", xlim=(-widest, widest))
    return _svg(figure)


def explained(rankings: Sequence[Ranking]) -> str:
    """What the answer loses without the first sentences of each order, and with these alone."""
    figure, both = _figure(5, 6, rows=(1, 1))
    styles = zip(rankings, _COLOURS, "oDsv^", strict=False)
    for ranking, colour, marker in styles:
        for axes, lost in zip(both, (ranking.comprehensiveness, ranking.sufficiency), strict=True):
            axes.plot(SHARES, lost, marker=marker, color=colour, label=ranking.name)
    both[0].set(ylabel="lost without them")
    both[1].set(xlabel="share of the text", ylabel="lost with them alone")
    for axes in both:
        axes.set_xticks(SHARES, [f"{each:.0%}" for each in SHARES])
        _percent(axes, "y")
    both[0].legend(frameon=False)
    return _svg(figure)


def flip_sizes(sizes: Sequence[int]) -> str:
    """How many sentences the sets have that turn the answer."""
    figure, (axes,) = _figure(5, 2.6)
    counts = np.bincount(sizes)
    axes.bar(range(len(counts)), counts, color=_BLUE)
    axes.set(xlabel="sentences to take out", ylabel="reviews", xlim=(0.4, len(counts) - 0.4))
    return _svg(figure)


def training(curves: Mapping[str, Any]) -> str:
    """The loss of every step, smoothed, and of the held-out reviews after every epoch."""
    figure, (axes,) = _figure(5, 3)
    steps, losses = np.array(curves["loss"]).T
    axes.plot(steps, losses, color=_BLUE, linewidth=1, label="training loss, mean of steps")
    validation = curves["validation"]
    axes.plot(
        [epoch["step"] for epoch in validation],
        [epoch["loss"] for epoch in validation],
        "D--",
        color=_ORANGE,
        label="held-out loss",
    )
    for epoch in validation:
        axes.annotate(
            f"{epoch['accuracy']:.1%}",
            (epoch["step"], epoch["loss"]),
            xytext=(0, 8),
            textcoords="offset points",
            ha="right",
        )
    axes.set(xlabel="step", ylabel="cross-entropy, nats", ylim=(0, None))
    axes.legend(frameon=False)
    return _svg(figure)


def _figure(
    width: float, height: float, rows: Sequence[float] = (1,)
) -> tuple[Figure, Sequence[Axes]]:
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots(len(rows), 1, height_ratios=rows, squeeze=False)[:, 0]
    return figure, list(axes)


def _intervals(axes: Axes, shares: Sequence[Share]) -> None:
    margins = np.array([_margins(each) for each in shares]).T
    values = [each.value for each in shares]
    axes.errorbar(range(len(shares)), values, margins, fmt="o", color=_BLUE, capsize=4)


def _margins(share: Share) -> tuple[float, float]:
    return max(0.0, share.value - share.low), max(0.0, share.high - share.value)


def _percent(axes: Axes, which: str) -> None:
    for name in which:
        axis = axes.xaxis if name == "x" else axes.yaxis
        axis.set_major_formatter(mpl.ticker.PercentFormatter(1, symbol="%"))


def _svg(figure: Figure) -> str:
    with mpl.rc_context(_STYLE):
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
