"""The plots of the report, as SVG: readable in print, in grey, in the dark and when colour-blind.

The colours are those of Okabe and Ito (2008, "Color Universal Design"). Text, grid and bands use
CSS variables that follow the colour scheme of the reader.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from reelsense.evaluation.fairness import TOLERANCE
from reelsense.evaluation.metrics import ECE_BINS, share
from reelsense.evaluation.predictions import LabelledPredictions
from reelsense.evaluation.selective import accuracy_by_coverage
from reelsense.report.record import Plot
from reelsense.report.results import (
    DELETION_SHARES,
    Evaluation,
    IdentityChanges,
    LabelChanges,
    SelectiveResult,
    SentenceRanking,
    Share,
    Slice,
)

_BLUE, _ORANGE, _GREEN, _GREY = "#0072b2", "#d55e00", "#009e73", "#8a8f98"
_COLOURS = (_BLUE, _ORANGE, _GREY, _GREEN, "#cc79a7")
_INK, _GRID, _BAND = "#1d2129", "#e3e5e8", "#e9f3ee"

# CSS variable of each colour of a light scheme, and its value in a dark one.
_VARIABLES = {
    _INK: ("--plot-ink", "#e6e8ec"),
    _GRID: ("--plot-grid", "#3a3f48"),
    _BAND: ("--plot-band", "#1f3a30"),
}
_CSS = (
    f"<style>svg{{{';'.join(f'{name}:{light}' for light, (name, _) in _VARIABLES.items())}}}"
    "@media(prefers-color-scheme:dark){svg{"
    f"{';'.join(f'{name}:{dark}' for name, dark in _VARIABLES.values())}}}}}</style>"
)

_STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: small, sharp, and read aloud
    "svg.hashsalt": "reelsense",  # deterministic ids
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana"],
    "font.size": 10,
    "text.color": _INK,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _GRID,
}

_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))
_MAX_TERMS = 8  # identity terms shown from either end
_MAX_POINTS = 300  # of a curve


def draw_plots(
    evaluation: Evaluation, predictions: LabelledPredictions, curves: Mapping[str, Any] | None
) -> tuple[Plot, ...]:
    """Draw all plots of a report on `evaluation`, which was computed from `predictions`.

    `curves` has the losses during training, if known.
    """
    plots = []
    for name, section, caption, figure in _figures(evaluation, predictions, curves or {}):
        width, height = (round(96 * inches) for inches in figure.get_size_inches())
        plots.append(Plot(name, section, caption, width, height, as_svg(figure)))
    return tuple(plots)


def _figures(
    evaluation: Evaluation, predictions: LabelledPredictions, curves: Mapping[str, Any]
) -> Iterator[tuple[str, str, str, Figure]]:
    """Yield name, section, caption and figure of each plot."""
    yield (
        "reliability",
        "probabilities",
        "Calibration: points below the dashed line are overconfident. The bars show how many "
        "predictions have each probability.",
        reliability(predictions),
    )
    yield (
        "coverage",
        "unsure",
        "Accuracy against coverage. Diamonds mark the thresholds of the target error rates.",
        coverage(predictions, evaluation.selective),
    )
    caption = "Accuracy by number of words, with 95% intervals."
    yield "by-length", "slices", caption, accuracy_by(evaluation.by_length, "words")
    if evaluation.by_rating:
        caption = "Accuracy by the stars of the review. The dataset has no reviews of 5 or 6 stars."
        figure = accuracy_by(evaluation.by_rating, "stars of the author")
        yield "by-rating", "slices", caption, figure
    if evaluation.label_changes:
        caption = "Label changes by perturbation, with 95% intervals."
        yield "label-changes", "robustness", caption, label_changes(evaluation.label_changes)
    for changes in evaluation.identity:
        if changes.shifts and (changes.terms, changes.source) == ("held-out", "templates"):
            name = "identity-" + re.sub(r"\W+", "-", changes.category.lower())
            caption = (
                f"{changes.category.capitalize()}: the held-out terms furthest from the median, "
                "mean over the templates. The shaded band is the tolerance."
            )
            yield name, "fairness", caption, identity_shifts(changes)
    if evaluation.explanations:
        caption = (
            "Mean loss in the probability of the prediction: above, without the first sentences "
            "of each order; below, with only these."
        )
        figure = sentence_deletion(evaluation.explanations.rankings)
        yield "sentence-deletion", "explanations", caption, figure
        if sizes := evaluation.explanations.counterfactuals.sizes:
            caption = "Number of sentences in the counterfactuals."
            yield "counterfactual-sizes", "explanations", caption, counterfactual_sizes(sizes)
    if curves.get("loss"):
        caption = "Training loss; diamonds show the validation set, with its accuracy."
        if curves.get("note"):
            caption += f" {curves['note']}"
        yield "training", "training", caption, training(curves)


def reliability(predictions: LabelledPredictions) -> Figure:
    """Plot accuracy against confidence."""
    figure, (axes, counts) = _figure(5, 4.4, rows=(3, 1))
    edges = np.linspace(0, 1, ECE_BINS + 1)
    bins = np.minimum((predictions.confidence * ECE_BINS).astype(int), ECE_BINS - 1)
    sizes = np.bincount(bins, minlength=ECE_BINS)
    full = np.flatnonzero(sizes)
    confidence = np.bincount(bins, predictions.confidence, ECE_BINS)[full] / sizes[full]
    lowest = edges[full[0]]
    axes.plot([lowest, 1], [lowest, 1], "--", color=_GREY, label="perfect calibration")
    correct = np.bincount(bins, predictions.correct, ECE_BINS)
    margins = _margins([share(int(correct[n]), int(sizes[n])) for n in full])
    axes.errorbar(
        confidence,
        correct[full] / sizes[full],
        margins,
        fmt="o",
        color=_BLUE,
        capsize=3,
        label="measured, with 95% intervals",
    )
    axes.set(ylabel="accuracy", xlim=(lowest, 1.01))
    axes.legend(frameon=False, loc="upper left")
    counts.bar(edges[full], sizes[full] / sizes.sum(), 1 / ECE_BINS, align="edge", color=_GREY)
    counts.set(xlabel="confidence", ylabel="of all", xlim=(lowest, 1.01))
    _percent(axes, "xy")
    _percent(counts, "xy")
    return figure


def coverage(predictions: LabelledPredictions, selective: Sequence[SelectiveResult]) -> Figure:
    """Plot accuracy against coverage, with the decision thresholds marked."""
    figure, (axes,) = _figure(5, 3.4)
    shares, accuracy = accuracy_by_coverage(predictions)
    start = np.searchsorted(shares, 0.1)  # before it, single predictions move the curve
    shown = np.unique(np.linspace(start, len(shares) - 1, _MAX_POINTS).astype(int))
    axes.plot(shares[shown], accuracy[shown], color=_BLUE)
    for row in selective:
        if any(row.thresholds) and row.coverage.count:
            place = (row.coverage.value, 1 - row.selective_error.value)
            axes.plot(*place, "D", color=_ORANGE, markersize=6)
            text = f"target {row.risk * 100:g}%"
            axes.annotate(text, place, (-6, -13), textcoords="offset points", ha="right")
    axes.set(xlabel="coverage", ylabel="accuracy")
    _percent(axes, "xy")
    return figure


def accuracy_by(slices: Sequence[Slice], xlabel: str) -> Figure:
    """Plot the accuracy of each slice, with its interval."""
    figure, (axes,) = _figure(5, 3)
    margins = _margins([row.accuracy for row in slices])
    values = [row.accuracy.value for row in slices]
    axes.errorbar(range(len(slices)), values, margins, fmt="o", color=_BLUE, capsize=4)
    axes.set_xticks(range(len(slices)), [row.name for row in slices], rotation=30)
    axes.set(xlabel=xlabel, ylabel="accuracy")
    _percent(axes, "y")
    return figure


def label_changes(changes: Sequence[LabelChanges]) -> Figure:
    """Plot the share of label changes of each perturbation."""
    figure, (axes,) = _figure(5, 0.6 + 0.42 * len(changes))
    places = np.arange(len(changes))[::-1]
    values = np.array([row.changed.value for row in changes])
    margins = _margins([row.changed for row in changes])
    axes.barh(places, values, xerr=margins, color=_BLUE, ecolor=_INK, capsize=3, height=0.6)
    axes.set_yticks(places, [row.name for row in changes])
    axes.set(xlabel="label changes")
    _percent(axes, "x")
    return figure


def identity_shifts(changes: IdentityChanges) -> Figure:
    """Plot the mean shift of the least and the most positive terms of a category."""
    shown = [*changes.shifts[:_MAX_TERMS], *changes.shifts[_MAX_TERMS:][-_MAX_TERMS:]]
    figure, (axes,) = _figure(5, 0.7 + 0.26 * len(shown))
    places = np.arange(len(shown))
    values = np.array([row.shift for row in shown])
    axes.axvspan(-TOLERANCE, TOLERANCE, color=_BAND)
    axes.hlines(places, 0, values, color=_GREY, linewidth=1)
    axes.plot(values, places, "o", color=_GREEN)
    axes.set_yticks(places, [row.term for row in shown])
    widest = max(2 * TOLERANCE, float(np.abs(values).max()) * 1.1)
    axes.set(xlabel="probability of positive minus that of the median term", xlim=(-widest, widest))
    return figure


def sentence_deletion(rankings: Sequence[SentenceRanking]) -> Figure:
    """Plot comprehensiveness and sufficiency of each order of the sentences."""
    figure, both = _figure(5, 6, rows=(1, 1))
    for ranking, colour, marker in zip(rankings, _COLOURS, "oDsv^", strict=False):
        for axes, lost in zip(both, (ranking.comprehensiveness, ranking.sufficiency), strict=True):
            axes.plot(DELETION_SHARES, lost, marker=marker, color=colour, label=ranking.name)
    both[0].set(ylabel="lost without them")
    both[1].set(xlabel="share of the text", ylabel="lost with only them")
    for axes in both:
        axes.set_xticks(DELETION_SHARES, [f"{share:.0%}" for share in DELETION_SHARES])
        _percent(axes, "y")
    both[0].legend(frameon=False)
    return figure


def counterfactual_sizes(sizes: Sequence[int]) -> Figure:
    """Plot the number of sentences in the counterfactuals."""
    figure, (axes,) = _figure(5, 2.6)
    counts = np.bincount(sizes)
    axes.bar(range(len(counts)), counts, color=_BLUE)
    axes.set(xlabel="deleted sentences", ylabel="texts", xlim=(0.4, len(counts) - 0.4))
    return figure


def training(curves: Mapping[str, Any]) -> Figure:
    """Plot the training loss of the steps and the validation loss of the epochs."""
    figure, (axes,) = _figure(5, 3)
    steps, losses = np.array(curves["loss"]).T
    axes.plot(steps, losses, color=_BLUE, linewidth=1, label="training loss, mean of steps")
    epochs = curves.get("validation", ())
    axes.plot(
        [epoch["step"] for epoch in epochs],
        [epoch["loss"] for epoch in epochs],
        "D--",
        color=_ORANGE,
        label="validation loss",
    )
    for epoch in epochs:
        place = (epoch["step"], epoch["loss"])
        text = f"{epoch['accuracy']:.1%}"
        axes.annotate(text, place, xytext=(0, 8), textcoords="offset points", ha="right")
    axes.set(xlabel="step", ylabel="cross-entropy, nats", ylim=(0, None))
    axes.legend(frameon=False)
    return figure


def _figure(
    width: float, height: float, rows: Sequence[float] = (1,)
) -> tuple[Figure, Sequence[Axes]]:
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots(len(rows), 1, height_ratios=rows, squeeze=False)[:, 0]
    return figure, list(axes)


def _margins(shares: Sequence[Share]) -> NDArray[np.float64]:
    """Return the distances (2, n) of the ends of the intervals from the values."""
    ends = [(share.value - share.low, share.high - share.value) for share in shares]
    return np.maximum(0.0, ends).T


def _percent(axes: Axes, names: str) -> None:
    for name in names:
        axis = axes.xaxis if name == "x" else axes.yaxis
        axis.set_major_formatter(mpl.ticker.PercentFormatter(1, symbol="%"))


def as_svg(figure: Figure) -> str:
    """Return `figure` as an SVG that follows the colour scheme of the reader."""
    buffer = io.StringIO()
    with mpl.rc_context(_STYLE):
        figure.savefig(buffer, format="svg", transparent=True, metadata=_METADATA)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    for light, (name, _) in _VARIABLES.items():
        svg = svg.replace(light, f"var({name})")
    tag_end = svg.index(">") + 1
    return svg[:tag_end] + _CSS + svg[tag_end:]
