"""Predictions and explanations as the pages show them. Knows neither HTTP nor HTML."""

from __future__ import annotations

import bisect
import math
import re
from dataclasses import dataclass

from reelsense.prediction import AspectMention, Explanation, Part, Prediction
from reelsense.summary.labels import display_order
from reelsense.text.clean import clean

_MAX_LISTED = 10  # labels with their probabilities
# Weights (nats) from which a part gets the next darker shade: on an absolute scale, so that a part
# that hardly matters is pale even if no other part matters more.
_SHADES = (0.1, 0.5, 1.25, 2.5)
_BINARY = {"positive", "negative"}
_MEGABYTE = 1 << 20
_PARAGRAPH = re.compile(r"\n\s*\n|<br\s*/?>\s*<br\s*/?>", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class HighlightedPart:
    """A sentence or word, shaded by its weight for the prediction."""

    text: str
    weight: float
    shade: int  # from 0 (not shaded) to 4
    prediction_without: str  # without this part; empty if the labels are not positive and negative
    in_counterfactual: bool  # whether it is one of the parts whose removal changes the label


@dataclass(frozen=True, slots=True)
class AspectView:
    """A clause that judges an aspect."""

    aspect: str
    text: str
    verdict: str
    positive: float


@dataclass(frozen=True, slots=True)
class ExplanationView:
    """An explanation with the texts of its parts."""

    explanation: Explanation
    paragraphs: list[list[HighlightedPart]]
    words: list[HighlightedPart]
    counterfactual: list[str]  # the texts whose removal changes the label; may be empty
    other_label: str  # the label that parts with a negative weight support
    aspects: list[AspectView]


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


def gauge_zone(prediction: Prediction) -> float | None:
    """Return the share of the gauge in which the verdict is positive, or in which it is negative.

    None if the labels are not positive and negative: then the page shows no gauge.
    """
    if set(prediction.probabilities) != _BINARY:
        return None
    return 0.0 if prediction.threshold is None else 1 - max(prediction.threshold, 0.5)


def shown_probabilities(prediction: Prediction) -> dict[str, float]:
    """Return the probabilities to list: all, or the highest if the model has many labels."""
    probabilities = prediction.probabilities
    if len(probabilities) <= _MAX_LISTED:
        return {label: probabilities[label] for label in display_order(probabilities)}
    highest = sorted(probabilities, key=probabilities.__getitem__, reverse=True)[:_MAX_LISTED]
    return {label: probabilities[label] for label in highest}


def threshold_note(prediction: Prediction, risk: float | None) -> str:
    """Return when the model is unsure at the target error rate `risk`; empty without one."""
    if risk is None:
        return ""
    target = f"a target error rate of {risk * 100:g} %"
    if prediction.threshold is None:
        return f"Always unsure: no threshold is known to meet {target} for texts of this length."
    if prediction.threshold <= 1 / len(prediction.probabilities):
        return f"Never unsure: {target} needs no threshold for texts of this length."
    return f"Unsure below {percent(prediction.threshold)}, to meet {target}."


def explanation_view(text: str, explanation: Explanation, window: int) -> ExplanationView:
    """Return how to show the `explanation` of `text` by a model with windows of `window` tokens."""
    prediction = explanation.prediction
    removed = explanation.counterfactual.parts if explanation.counterfactual else ()
    # With several windows, a removed part does not move the borders of the others, so that the
    # prediction without it is an estimate.
    about = "about " if prediction.tokens.total > window - 2 else ""

    def highlighted(part: Part) -> HighlightedPart:
        without = _prediction_without(part, explanation)
        return HighlightedPart(
            text=_plain(text, part),
            weight=part.weight,
            shade=bisect.bisect(_SHADES, abs(part.weight)),
            prediction_without=without and about + without,
            in_counterfactual=part in removed,
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
        explanation=explanation,
        paragraphs=paragraphs,
        words=[highlighted(part) for part in explanation.words],
        counterfactual=[_plain(text, part) for part in removed],
        other_label=others[0] if len(others) == 1 else "other labels",
        aspects=[
            AspectView(mention.aspect, _plain(text, mention), mention.verdict, mention.positive)
            for mention in explanation.aspects or ()
        ],
    )


def _prediction_without(part: Part, explanation: Explanation) -> str:
    """Return the prediction without `part`, whose weight is the log-odds that it adds."""
    if set(explanation.prediction.probabilities) != _BINARY:
        return ""
    positive = 1 / (1 + math.exp(-(explanation.log_odds - part.weight)))
    if positive >= 0.5:
        return f"{percent(positive)} positive"
    return f"{percent(1 - positive)} negative"


def _plain(text: str, part: Part | AspectMention) -> str:
    return " ".join(clean(text[part.start : part.end]).split())


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
