"""What a classifier returns. Frozen data classes that do not know models or HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

UNSURE = "unsure"
"""The verdict if the score of the label is below the decision threshold."""


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

    @property
    def positive(self) -> float:
        """The probability of "positive". Raises KeyError for a model without that label."""
        return self.probabilities["positive"]

    @property
    def negative(self) -> float:
        """The probability of "negative". Raises KeyError for a model without that label."""
        return self.probabilities["negative"]


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
    aspects: tuple[AspectMention, ...] | None = None
    """The mentions of aspects, in the order of the text; None: not requested."""

    @property
    def support(self) -> list[float]:
        """How much each sentence supports the predicted label (nats); below 0: opposes it."""
        sign = 1 if self.prediction.label == self.target_label else -1
        return [sign * sentence.weight for sentence in self.sentences]
