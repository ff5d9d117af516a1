"""What a classifier answers. Plain frozen data: knows no model, no HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

UNSURE = "unsure"
"""The verdict where no label is sure enough."""


@dataclass(frozen=True, slots=True, eq=False)
class ScoredTexts:
    """The scores of texts (n), one row each, before and after calibration."""

    probabilities: NDArray[np.float64]
    """(n, labels), calibrated."""
    stars: NDArray[np.float64] | None
    """(n), the expected star rating; None if the model does not predict stars."""
    tokens: NDArray[np.int64]
    """(n), without [CLS] and [SEP]."""
    groups: NDArray[np.intp]
    """(n), the length group, an index into `Manifest.groups`."""
    logits: NDArray[np.float64]
    """(n, labels), the mean over the windows of a text, before calibration."""
    star_logits: NDArray[np.float64]
    """(n, ratings), likewise; no columns if the model does not predict stars."""
    windows: NDArray[np.int64]
    """(n), the number of windows."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of a text was read, in tokens. `scored` is less than `total` only if cut short."""

    total: int
    scored: int


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer for one text."""

    label: str
    """The most probable label."""
    score: float
    """Its probability, 0 to 1."""
    probabilities: dict[str, float]
    """The probability of every label of the model; they sum to 1."""
    threshold: float | None
    """The least `score` of a decided answer to a text of this length; None: all are unsure."""
    verdict: str
    """`label`, or "unsure" where `score` is below `threshold`."""
    stars: float | None
    """The expected star rating, 1.0 to 10.0; None of a model that has learned none."""
    tokens: Coverage

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
    """A sentence, a passage or a word of an explained text, and what it carries."""

    start: int
    """Where it begins in the text as given, in characters."""
    end: int
    """Before which character it ends."""
    weight: float
    """Contribution to the calibrated log-odds (nats) of `Explanation.target_label`: those of the
    whole text minus those of the text without this part, whose other windows stay as they were.
    Above 0 it speaks for that label, below 0 against it."""


def without(text: str, parts: Sequence[Part]) -> str:
    """Return `text` without `parts` of it, which are in its order."""
    starts = [0, *(part.end for part in parts)]
    ends = [*(part.start for part in parts), len(text)]
    return "".join(text[start:end] for start, end in zip(starts, ends, strict=True))


@dataclass(frozen=True, slots=True)
class Counterfactual:
    """A small set of parts whose removal changes the label: the smallest that was found."""

    unit: str
    """What `parts` are: "sentences", or "words" where no sentences were found that do it."""
    parts: tuple[Part, ...]
    """In the order of the text."""
    prediction: Prediction
    """Of the text without them, read anew."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Which parts of a text carry its answer, each measured by taking it out."""

    prediction: Prediction
    target_label: str
    """The label that weights count towards: "positive", or the answer's of a model without it."""
    log_odds: float
    """The calibrated log-odds of `target_label` for the whole text, nats."""
    sentences: tuple[Part, ...]
    """All of the text, in its order. Of a text of more sentences than the budget allows, those
    that weigh little stay together in passages."""
    words: tuple[Part, ...]
    """Words that matter most in the heaviest sentence, in the order of the text."""
    counterfactual: Counterfactual | None
    """None: no set that changes the label was found within the budget."""
    forward_passes: int
    """Windows that the network read for this, the reading of the text itself among them."""
    budget: int
    """How many it might have read, beside the text itself and the verification of the flip."""

    @property
    def support(self) -> list[float]:
        """How much each of `sentences` speaks for the answer, nats; below 0 against it."""
        sign = 1 if self.prediction.label == self.target_label else -1
        return [sign * each.weight for each in self.sentences]
