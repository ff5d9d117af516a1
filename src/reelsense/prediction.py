"""What a classifier returns. Frozen data classes that do not know models or HTTP."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

import numpy as np
from numpy.typing import NDArray

UNSURE = "unsure"
"""The verdict if the score of the label is below the decision threshold."""

ERROR = "error"
"""Takes the place of the verdict for rows that could not be scored."""


EMBEDDING_SIZE = 16
"""Dimensions of `TextFeatures.embedding`."""


@dataclass(frozen=True, slots=True, eq=False)
class TextFeatures:
    """What drift detection compares, besides the prediction itself."""

    unknown: float
    """Share of the tokens that the model does not know, 0 to 1."""
    embedding: NDArray[np.float32] | None
    """A projection of the sentence vector to EMBEDDING_SIZE dimensions; None: the engine does not
    return the vector."""


@dataclass(frozen=True, slots=True, eq=False)
class ScoredTexts:
    """The scores of n texts before and after calibration."""

    probabilities: NDArray[np.float64]  # (n, labels), calibrated
    stars: NDArray[np.float64] | None  # (n), expected ratings; None: model without stars
    tokens: NDArray[np.int64]  # (n), without [CLS] and [SEP]
    groups: NDArray[np.intp]  # (n), length groups as indices into `Manifest.groups`
    logits: NDArray[np.float64]  # (n, labels), means over the windows, before calibration
    star_logits: NDArray[np.float64]  # (n, ratings), likewise; 0 columns without stars
    windows: NDArray[np.int64]  # (n), number of windows
    features: Sequence[TextFeatures | None] = ()  # (n), or empty: not computed


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """The tokens of a text, and how many of them were scored: fewer only if it was truncated."""

    total: int
    scored: int


@dataclass(frozen=True, slots=True)
class Prediction:
    """The prediction for one text."""

    label: str
    """The most probable label."""
    score: float
    """Its probability, 0 to 1."""
    probabilities: dict[str, float]
    """The probability of every label of the model; they sum to 1."""
    threshold: float | None
    """The decision threshold for texts of this length; None: all of them are unsure."""
    verdict: str
    """`label`, or "unsure" if `score` is below `threshold`."""
    stars: float | None
    """The expected star rating, 1.0 to 10.0; None if the model does not predict stars."""
    tokens: TokenCounts
    features: TextFeatures | None = field(default=None, repr=False, compare=False)
    """For drift detection; None in explanations."""

    @property
    def positive(self) -> float:
        """The probability of "positive". Raises KeyError for a model without that label."""
        return self.probabilities["positive"]

    @property
    def negative(self) -> float:
        """The probability of "negative". Raises KeyError for a model without that label."""
        return self.probabilities["negative"]

    def _repr_html_(self) -> str:
        """Return the prediction as notebooks show it."""
        verdict = f"<strong>{_html(self.verdict)}</strong>"
        if self.verdict == UNSURE:
            verdict += f" ({_html(self.label)}?)"
        parts = [f"{verdict} {_percent(self.score)}"]
        if self.stars is not None:
            parts.append(f"{self.stars:.1f} of 10 stars")
        if self.threshold is not None:
            parts.append(f"decision threshold {_percent(self.threshold)}")
        return f"<div>{' &middot; '.join(parts)}</div>"


@dataclass(frozen=True, slots=True)
class Part:
    """A sentence, passage or word of a text, and its contribution to the prediction."""

    start: int
    """Index of its first character in the original text."""
    end: int
    """Index after its last character."""
    weight: float
    """Contribution to the calibrated log-odds (nats) of `Explanation.target_label`: those of the
    whole text minus those of the text without this part, whose other windows stay unchanged. Above
    0 the part supports the label, below 0 it opposes it."""


def without(text: str, parts: Sequence[Part]) -> str:
    """Return `text` without `parts`, which must be in its order."""
    starts = [0, *(part.end for part in parts)]
    ends = [*(part.start for part in parts), len(text)]
    return "".join(text[start:end] for start, end in zip(starts, ends, strict=True))


@dataclass(frozen=True, slots=True)
class Counterfactual:
    """The smallest set of parts found whose removal changes the label."""

    unit: str
    """Type of `parts`: "sentences", or "words" if no set of sentences was found."""
    parts: tuple[Part, ...]
    """In the order of the text."""
    prediction: Prediction
    """The prediction for the text without them."""


@dataclass(frozen=True, slots=True)
class AspectMention:
    """A clause of a review that judges an aspect of the film, and the sentiment of the clause."""

    aspect: str
    """acting, story, directing, music, visuals, pace, humour, effects, dialogue or ending."""
    start: int
    """Index of its first character in the original text."""
    end: int
    """Index after its last character."""
    verdict: str
    """"positive", "negative" or "unsure": the verdict for the clause alone."""
    positive: float
    """The probability of "positive" for the clause alone, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """The contributions of the parts of a text to its prediction, measured by occlusion."""

    prediction: Prediction
    target_label: str
    """The label that weights refer to: "positive", or the predicted label if the model has none."""
    log_odds: float
    """The calibrated log-odds (nats) of `target_label` for the whole text."""
    sentences: tuple[Part, ...]
    """The whole text, in its order. If the budget does not suffice for every sentence, sentences of
    low weight are grouped into passages."""
    words: tuple[Part, ...]
    """The words with the largest weights in the sentence with the largest weight (absolute
    values), in the order of the text."""
    counterfactual: Counterfactual | None
    """None: no removal that changes the label was found within the budget."""
    forward_passes: int
    """Windows that the model ran for this explanation, including those of the text itself."""
    budget: int
    """Maximum forward passes in addition to those of the text itself and of the verification of
    the counterfactual."""
    text: str = field(repr=False)
    """The explained text, which the parts refer to."""
    aspects: tuple[AspectMention, ...] | None = None
    """The mentions of aspects, in the order of the text; None: not requested."""

    @property
    def support(self) -> list[float]:
        """How much each sentence supports the predicted label (nats); below 0: opposes it."""
        sign = 1 if self.prediction.label == self.target_label else -1
        return [sign * sentence.weight for sentence in self.sentences]

    def _repr_html_(self) -> str:
        """Return prediction, weighted text and counterfactual as notebooks show them."""
        largest = max((abs(sentence.weight) for sentence in self.sentences), default=0.0) or 1.0
        text = "".join(
            f'<span style="background: rgb({_HUES[sentence.weight > 0]} / '
            f'{0.5 * abs(sentence.weight) / largest:.2f})" title="weight {sentence.weight:+.2f}">'
            f"{_html(self.text[sentence.start : sentence.end])}</span> "
            for sentence in self.sentences
        )
        return (
            f'<div class="{_NO_FORMULAS}">{self.prediction._repr_html_()}'
            f'<p style="white-space: pre-wrap">{text}</p>'
            f"<div>Blue sentences support <em>{_html(self.target_label)}</em>, orange ones oppose "
            f"it.</div><div>{self._counterfactual_html()}</div></div>"
        )

    def _counterfactual_html(self) -> str:
        if self.counterfactual is None:
            return "No removal that changes the label was found."
        parts = self.counterfactual.parts
        removed = ", ".join(f"<q>{_html(self.text[part.start : part.end])}</q>" for part in parts)
        label = _html(self.counterfactual.prediction.label)
        return f"Without {removed}: <strong>{label}</strong>"


_NO_FORMULAS = "tex2jax_ignore mathjax_ignore"  # for notebooks, which typeset "$5 and $6"
_HUES = {True: "59 130 246", False: "245 158 11"}  # blue and orange, as on the pages


def _html(text: str) -> str:
    """Escape `text` for HTML, without control characters."""
    return escape("".join(c if c.isprintable() or c in "\n\t" else " " for c in text))


def _percent(fraction: float) -> str:
    """Return `fraction` in percent, rounded down, so that only certainty reads 100 %."""
    return f"{math.floor(fraction * 1000) / 10:.1f} %"
