"""Predictions and explanations as the pages show them. Knows neither HTTP nor HTML."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from reelsense.prediction import UNSURE, Explanation, Part, Prediction
from reelsense.text.clean import clean

_SHADES = 4
_MIN_RELATIVE_WEIGHT = 0.05
"""Parts with less than this fraction of the largest weight are not shaded."""

_BINARY = {"positive", "negative"}
_MEGABYTE = 1 << 20
_PARAGRAPH = re.compile(r"\n\s*\n|<br\s*/?>\s*<br\s*/?>", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Gauge:
    """The probability of "positive", and the limits of the three zones, from 0 to 1."""

    positive: float
    negative_end: float
    positive_start: float

    @property
    def angle(self) -> float:
        """The angle of the needle in degrees: 0 points left, 180 right."""
        return round(self.positive * 180, 1)


@dataclass(frozen=True, slots=True)
class HighlightedPart:
    """A sentence or word, shaded by its weight for the prediction."""

    text: str
    weight: float
    shade: int
    """From 0 (not shaded) to 4 (as heavy as any)."""
    prediction_without: str
    """The prediction without this part; empty if the labels are not positive and negative."""
    in_counterfactual: bool
    """Whether it is one of the parts whose removal changes the label."""

    @property
    def tooltip(self) -> str:
        """The figures of the part, for the tooltip and screen readers."""
        without = f"Without this: {self.prediction_without}. " if self.prediction_without else ""
        changes = "; removing it helps to change the label" if self.in_counterfactual else ""
        return f"{without}Weight {signed(self.weight)}{changes}."

    @property
    def side(self) -> str:
        """The CSS class of the colour."""
        return "for" if self.weight > 0 else "against"


@dataclass(frozen=True, slots=True)
class ExplanationView:
    """An explanation as the page shows it."""

    paragraphs: list[list[HighlightedPart]]
    words: list[HighlightedPart]
    counterfactual: list[str]
    """The texts whose removal changes the label; empty if none were found."""
    counterfactual_prediction: Prediction | None
    unit: str
    """What `counterfactual` contains: sentences or words."""
    target_label: str
    other_label: str
    """The label that parts with a negative weight support."""
    forward_passes: int


def percent(fraction: float, digits: int = 1) -> str:
    """Return `fraction` in percent, rounded down, so that only certainty reads 100 %."""
    scale = 10**digits
    return f"{math.floor(fraction * 100 * scale) / scale:.{digits}f} %"


def percent_positive(probability: float) -> str:
    """Return `probability` in percent, rounded towards 50 %, so that it never reads 0 or 100 %."""
    if probability >= 0.5:
        return percent(probability)
    return f"{math.ceil(probability * 1000) / 10:.1f} %"


def signed(weight: float) -> str:
    """Return `weight` with its sign and two decimals."""
    return f"{weight:+.2f}".replace("-", "\u2212")


def gauge(prediction: Prediction) -> Gauge | None:
    """Return the gauge, or None if the labels are not positive and negative."""
    if set(prediction.probabilities) != _BINARY:
        return None
    threshold = 1.0 if prediction.threshold is None else max(prediction.threshold, 0.5)
    return Gauge(prediction.positive, 1 - threshold, threshold)


def confidence(prediction: Prediction) -> str:
    """Return a sentence with the probability of the predicted label."""
    score = percent(prediction.score)
    if prediction.verdict == UNSURE:
        return f"Leans {prediction.label} (probability {score})."
    return f"Probability: {score}."


def threshold_note(prediction: Prediction, risk: float | None) -> str:
    """Return when the model is unsure at the target error rate `risk`; empty without one."""
    if risk is None:
        return ""
    target = f"a target error rate of {risk * 100:g} %"
    if prediction.threshold is None:
        return f"Always unsure: the model cannot meet {target} for texts of this length."
    if prediction.threshold <= 1 / len(prediction.probabilities):
        return f"Never unsure: the model meets {target} on all texts of this length."
    return f"Unsure below {percent(prediction.threshold)}, to meet {target}."


def explanation_view(text: str, explanation: Explanation, window: int) -> ExplanationView:
    """Return how to show the `explanation` of `text` by a model with windows of `window` tokens."""
    counterfactual, prediction = explanation.counterfactual, explanation.prediction
    changing = set(counterfactual.parts) if counterfactual else set()
    max_weight = max((abs(part.weight) for part in explanation.sentences), default=0.0)
    # With several windows, a removed part does not move the borders of the others, so that the
    # prediction without it is an estimate.
    approximate = prediction.tokens.total > window - 2

    def highlighted(part: Part) -> HighlightedPart:
        relative = abs(part.weight) / max_weight if max_weight else 0.0
        without = _prediction_without(part, explanation)
        return HighlightedPart(
            text=_plain(text, part),
            weight=part.weight,
            shade=0
            if relative < _MIN_RELATIVE_WEIGHT
            else min(_SHADES, math.ceil(relative * _SHADES)),
            prediction_without=f"about {without}" if without and approximate else without,
            in_counterfactual=part in changing,
        )

    paragraphs: list[list[HighlightedPart]] = [[]]
    end = 0
    for part in explanation.sentences:
        if paragraphs[-1] and _PARAGRAPH.search(text, end, part.start):
            paragraphs.append([])
        paragraphs[-1].append(highlighted(part))
        end = part.end
    others = [label for label in prediction.probabilities if label != explanation.target_label]
    return ExplanationView(
        paragraphs=paragraphs,
        words=[highlighted(part) for part in explanation.words],
        counterfactual=[_plain(text, part) for part in counterfactual.parts]
        if counterfactual
        else [],
        counterfactual_prediction=counterfactual.prediction if counterfactual else None,
        unit=counterfactual.unit if counterfactual else "",
        target_label=explanation.target_label,
        other_label=others[0] if len(others) == 1 else "other labels",
        forward_passes=explanation.forward_passes,
    )


def _prediction_without(part: Part, explanation: Explanation) -> str:
    """Return the prediction without `part`, whose weight is the log-odds that it adds."""
    if set(explanation.prediction.probabilities) != _BINARY:
        return ""
    positive = 1 / (1 + math.exp(-(explanation.log_odds - part.weight)))
    if positive >= 0.5:
        return f"{percent(positive)} positive"
    return f"{percent(1 - positive)} negative"


def _plain(text: str, part: Part) -> str:
    return " ".join(clean(text[part.start : part.end]).split())


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of a chart."""

    name: str
    count: int
    length: float
    """Relative to the longest bar, from 0 to 1."""
    share: float
    """Fraction of the total, from 0 to 1."""


def bars(counts: Mapping[str, int]) -> list[Bar]:
    """Return the bars of a chart of `counts`."""
    longest, total = max(counts.values(), default=0) or 1, sum(counts.values()) or 1
    return [
        Bar(name, count, round(count / longest, 4), count / total) for name, count in counts.items()
    ]


def file_size(size: int) -> str:
    """Return `size` (bytes) with its unit, rounded down."""
    if size < _MEGABYTE:
        return f"{size // 1024} KB" if size >= 1024 else f"{size} bytes"
    return f"{math.floor(10 * size / _MEGABYTE) / 10:g} MB"


def duration(seconds: float) -> str:
    """Return an approximate duration in words."""
    if seconds < 10:
        return "a few seconds"
    if seconds < 90:
        return f"about {round(seconds, -1):.0f} seconds"
    if seconds < 5400:
        return f"about {seconds / 60:.0f} minutes"
    return f"about {seconds / 3600:.1f} hours"
