"""An answer as the page shows it: words, places on the gauge, shades. Knows no HTTP and no HTML."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from reelsense.prediction import UNSURE, Explanation, Part, Prediction
from reelsense.text.clean import clean

_SHADES = 4

_MEGABYTE = 1 << 20

_PARAGRAPH = re.compile(r"\n\s*\n|<br\s*/?>\s*<br\s*/?>", re.IGNORECASE)

_LEAST = 0.05
"""Of the heaviest weight: what carries less is not shaded."""


@dataclass(frozen=True, slots=True)
class Gauge:
    """The probability of "positive" between 0 and 1, and from where on an answer is decided."""

    positive: float
    negative_to: float
    positive_from: float

    @property
    def angle(self) -> float:
        """Of the needle, in degrees: 0 points to the left, 180 to the right."""
        return round(self.positive * 180, 1)


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence, or another part of a text, and what it carries."""

    text: str
    weight: float
    shade: int
    """0: next to nothing; 4: as much as any."""
    without: str
    """What the answer would be without it; blank for a model of other labels."""
    turns: bool
    """Whether it is one of those without which the label is another."""

    @property
    def value(self) -> str:
        """What is to be said of it."""
        without = f"Without this: {self.without}. " if self.without else ""
        turns = ", one of those that turn the verdict" if self.turns else ""
        return f"{without}Weight {signed(self.weight)}{turns}."

    @property
    def side(self) -> str:
        """The class of its colour."""
        return "for" if self.weight > 0 else "against"


@dataclass(frozen=True, slots=True)
class Why:
    """What carries an answer, as the page shows it."""

    paragraphs: list[list[Sentence]]
    words: list[Sentence]
    counterfactual: list[str]
    """What has to go for the label to turn; empty: nothing was found."""
    flipped: Prediction | None
    unit: str
    """What `counterfactual` are: sentences or words."""
    target_label: str
    against: str
    """What speaks against `target_label` speaks for."""
    forward_passes: int


def percent(share: float, digits: int = 1) -> str:
    """Return `share` in percent, rounded towards doubt: nothing short of certainty is 100 %."""
    scale = 10**digits
    return f"{math.floor(share * 100 * scale) / scale:.{digits}f} %"


def share(positive: float) -> str:
    """Return the probability of one of two labels in percent; neither is ever 100 %, or 0."""
    return percent(positive) if positive >= 0.5 else f"{math.ceil(positive * 1000) / 10:.1f} %"


def gauge(prediction: Prediction) -> Gauge | None:
    """Return the gauge for `prediction`; None for a model with other labels."""
    if set(prediction.probabilities) != {"positive", "negative"}:
        return None
    least = prediction.threshold
    decided = 1.0 if least is None else max(least, 0.5)
    return Gauge(prediction.positive, 1 - decided, decided)


def in_words(prediction: Prediction) -> str:
    """Return a sentence that says how sure the answer is."""
    said = percent(prediction.score)
    if prediction.verdict != UNSURE:
        return f"The probability of that is {said}."
    return f"It leans {prediction.label}, with a probability of {said}."


def line(prediction: Prediction, risk: float | None) -> str:
    """Return from where on an answer is decided, and why there; blank if every answer is."""
    least = prediction.threshold
    if risk is None:
        return ""
    if least is None:
        return (
            f"Unsure of everything: this model cannot keep to {risk * 100:g} % of wrong answers "
            "in texts of this length."
        )
    promise = f"at most {risk * 100:g} % of what is decided may be wrong"
    if least <= 1 / len(prediction.probabilities):
        return f"Unsure of nothing: {promise}."
    return f"Unsure below {percent(least)}: {promise}."


def why(text: str, found: Explanation, window: int) -> Why:
    """Return what carries the answer for `text`, read in windows of so many tokens."""
    most = max((abs(part.weight) for part in found.sentences), default=0.0)
    # Of one window, a weight is what the answer to the rest would be; of several, which stay as
    # they were cut, nearly that.
    about = "about " if found.prediction.tokens.total > window - 2 else ""
    turning = set(found.counterfactual.parts) if found.counterfactual else set()
    paragraphs: list[list[Sentence]] = [[]]
    end = 0
    for part in found.sentences:
        if paragraphs[-1] and _PARAGRAPH.search(text, end, part.start):
            paragraphs.append([])
        paragraphs[-1].append(_sentence(text, part, found, most, about, turns=part in turning))
        end = part.end
    return Why(
        paragraphs,
        [_sentence(text, part, found, most, about, turns=False) for part in found.words],
        [_plain(text, part) for part in found.counterfactual.parts] if found.counterfactual else [],
        found.counterfactual.prediction if found.counterfactual else None,
        found.counterfactual.unit if found.counterfactual else "",
        found.target_label,
        next(label for label in found.prediction.probabilities if label != found.target_label)
        if len(found.prediction.probabilities) == 2
        else "another answer",
        found.forward_passes,
    )


def _sentence(
    text: str, part: Part, found: Explanation, most: float, about: str, *, turns: bool
) -> Sentence:
    share = abs(part.weight) / most if most else 0.0
    shade = 0 if share < _LEAST else min(_SHADES, math.ceil(share * _SHADES))
    return Sentence(
        _plain(text, part),
        part.weight,
        shade,
        about + left if (left := _left(part, found)) else "",
        turns,
    )


def _left(part: Part, found: Explanation) -> str:
    """What is left of the answer without `part`: its weight is what the log-odds lose."""
    if set(found.prediction.probabilities) != {"positive", "negative"}:
        return ""
    positive = 1 / (1 + math.exp(-(found.log_odds - part.weight)))
    label, share = ("positive", positive) if positive >= 0.5 else ("negative", 1 - positive)
    return f"{percent(share)} {label}"


def _plain(text: str, part: Part) -> str:
    return " ".join(clean(text[part.start : part.end]).split())


def signed(weight: float) -> str:
    """Return `weight` with its sign."""
    return f"{weight:+.2f}".replace("-", "\u2212")


def counted(number: int, unit: str) -> str:
    """Return `number` of what is called `unit` in the plural: these 2 sentences, this sentence."""
    return f"this {unit[:-1]}" if number == 1 else f"these {number} {unit}"


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of a chart."""

    name: str
    count: int
    length: float
    """0 to 1; the longest is 1."""
    share: float
    """Of all."""


def bars(counts: Mapping[str, int]) -> list[Bar]:
    """Return the bars that show `counts`."""
    most, total = max(counts.values(), default=0), sum(counts.values())
    return [
        Bar(name, count, round(count / (most or 1), 4), count / (total or 1))
        for name, count in counts.items()
    ]


def size(count: int) -> str:
    """Return how large a file of so many bytes may be, rounded down."""
    if count < _MEGABYTE:
        return f"{count // 1024} KB" if count >= 1024 else f"{count} bytes"
    return f"{math.floor(10 * count / _MEGABYTE) / 10:g} MB"


def duration(seconds: float) -> str:
    """Return about how long that is, in words."""
    if seconds < 10:
        return "a few seconds"
    if seconds < 90:
        return f"about {round(seconds, -1):.0f} seconds"
    if seconds < 5400:
        return f"about {seconds / 60:.0f} minutes"
    return f"about {seconds / 3600:.1f} hours"
