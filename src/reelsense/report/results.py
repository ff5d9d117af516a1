"""The types of evaluation results. Shares, accuracies and probabilities are between 0 and 1."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Literal

# Minimum shares of the characters of a review that are deleted or kept to test an explanation.
DELETION_SHARES = (0.1, 0.2, 0.5)

ALL_CATEGORIES = "all categories"  # `IdentityChanges.category` of all categories together
AUDITED = "audited labels"  # `LabelView.name`

# Maximum share of changed sentences with held-out terms, in one category and in all of them.
CATEGORY_TARGET, OVERALL_TARGET = 0.15, 0.10

Z = 1.959963984540054  # of 95% intervals: the 97.5th percentile of the normal distribution

Terms = Literal["held-out", "trained"]  # identity terms that training must not or may use


@dataclass(frozen=True, slots=True)
class Share:
    """`count` of `total` as a share, with its 95% confidence interval."""

    count: int
    total: int
    value: float
    low: float
    high: float

    @classmethod
    def of(cls, count: int, total: int) -> Share:
        """Return `count` of `total` with Wilson's interval; 0 to 1 if `total` is 0."""
        if not total:
            return cls(0, 0, 0.0, 0.0, 1.0)
        value, squared = count / total, Z**2 / total
        centre = (value + squared / 2) / (1 + squared)
        margin = Z / (1 + squared) * sqrt((value * (1 - value) + squared / 4) / total)
        # Rounding must not exclude the value.
        low, high = max(0.0, centre - margin), min(1.0, centre + margin)
        return cls(count, total, value, min(low, value), max(high, value))

    def __str__(self) -> str:
        if not self.total:
            return "none to count"
        return f"{self.value:.1%} ({self.low:.1%} to {self.high:.1%})"


@dataclass(frozen=True, slots=True)
class ClassificationMetrics:
    """Metrics of a classifier on labelled reviews."""

    reviews: int
    labels: tuple[str, ...]
    accuracy: float
    macro_f1: float  # mean F1 of the labels that occur
    auroc: float | None  # of the second of two labels; None unless both occur
    log_loss: float  # mean negative log-likelihood of the true label, in nats
    ece: float  # expected calibration error, 15 bins
    confusion: list[list[int]]  # rows: true label, columns: prediction, in the order of `labels`


@dataclass(frozen=True, slots=True)
class LabelView:
    """Accuracy for one version of the labels."""

    name: str
    accuracy: Share


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A review whose prediction differs from its label."""

    name: str
    text: str
    label: str
    predicted: str
    score: float  # probability of the predicted label


@dataclass(frozen=True, slots=True)
class LabelErrors:
    """Labels that cleanlab considers wrong (Northcutt et al. 2021, "Confident Learning")."""

    count: int
    audited: int  # how many of them people have audited
    not_upheld: int  # how many of the audited labels people did not uphold
    likeliest: list[Disagreement]


@dataclass(frozen=True, slots=True)
class SelectiveResult:
    """Coverage and selective error of the decision thresholds for one target error rate."""

    risk: float  # target error rate
    # For each length group with texts, shortest first; None: all its predictions are unsure.
    thresholds: tuple[float | None, ...]
    coverage: Share  # texts with a verdict other than "unsure"
    selective_error: Share  # errors among them, at most `risk` if the target is met

    @property
    def reachable(self) -> bool:
        """Whether any length group has a threshold for this target error rate."""
        return any(threshold is not None for threshold in self.thresholds)

    @property
    def meets_target(self) -> bool | None:
        """Whether the target error rate is met; None if the confidence interval contains it."""
        if self.selective_error.high <= self.risk:
            return True
        return False if self.selective_error.low > self.risk else None


@dataclass(frozen=True, slots=True)
class SelectiveGroup:
    """Selective results on the texts of one length group."""

    name: str
    max_tokens: int | None  # None: no upper bound
    results: list[SelectiveResult]


@dataclass(frozen=True, slots=True)
class Slice:
    """Accuracy on a part of the reviews."""

    name: str
    accuracy: Share


@dataclass(frozen=True, slots=True)
class LabelChanges:
    """How many predicted labels change under a perturbation that preserves the opinion."""

    name: str
    description: str  # one sentence on what is done to the texts
    changed: Share  # of the texts that the perturbation alters
    target: float | None = None  # maximum of `changed`


@dataclass(frozen=True, slots=True)
class PairAccuracy:
    """Accuracy on reviews and on edited versions of them with the opposite opinion."""

    name: str
    originals: Share
    edits: Share
    both: Share  # pairs with both predictions correct


@dataclass(frozen=True, slots=True)
class SingleSentences:
    """Results on single sentences."""

    metrics: ClassificationMetrics
    accuracy: Share
    selective: list[SelectiveResult]
    selective_by_length: list[SelectiveGroup]  # empty if the model has one length group


@dataclass(frozen=True, slots=True)
class BehaviourErrors:
    """Errors on sentences that test one behaviour."""

    name: str
    description: str  # what is tested, with an example
    errors: Share
    on_positive: Share  # errors among the positive sentences
    on_negative: Share
    target: float | None  # maximum of `errors`


@dataclass(frozen=True, slots=True)
class NeutralSentences:
    """Predictions for sentences without an opinion, which should be "unsure"."""

    name: str
    description: str
    unsure: Share
    positive: Share  # verdict "positive"


@dataclass(frozen=True, slots=True)
class Behaviours:
    """Results on template sentences that test one behaviour each."""

    errors: list[BehaviourErrors]
    neutral: list[NeutralSentences]  # empty for a model without decision thresholds


@dataclass(frozen=True, slots=True)
class TermShift:
    """How much more positive sentences are with one identity term than with the median term."""

    term: str
    shift: float  # mean difference in the probability of "positive"
    sentences: int


@dataclass(frozen=True, slots=True)
class IdentityChanges:
    """Effect of swapping the identity terms of a category on the probability of "positive".

    A set is one sentence with all terms.
    """

    category: str  # or ALL_CATEGORIES
    source: str  # where the sentences come from: "templates" or "reviews"
    terms: Terms
    changed: Share  # sentences further than the tolerance from the median over the terms
    sets: Share  # sets with a range above the tolerance; grows with the number of terms
    mean_range: float  # mean over the sets of the highest minus the lowest probability
    shifts: list[TermShift]  # least positive term first; empty for ALL_CATEGORIES
    widest: tuple[str, str]  # the two texts of the set with the largest range, likewise

    @property
    def target(self) -> float | None:
        """Maximum of `changed`; None for terms that training may use."""
        if self.terms != "held-out":
            return None
        return OVERALL_TARGET if self.category == ALL_CATEGORIES else CATEGORY_TARGET


@dataclass(frozen=True, slots=True)
class Comparison:
    """Another model on the same reviews, with McNemar's exact test."""

    name: str  # the other model
    metrics: ClassificationMetrics  # of the other model
    only_this_right: int
    only_other_right: int
    p_value: float  # two-sided


@dataclass(frozen=True, slots=True)
class DeletionEffect:
    """Mean change of the log-odds, in nats, when one sentence of a review is deleted."""

    reviews: int
    heaviest: float  # the sentence with the largest weight
    random: float  # another sentence of similar length
    ratio: float | None  # `heaviest / random`; None if `random` is 0


@dataclass(frozen=True, slots=True)
class SentenceRanking:
    """Mean loss in the probability of the prediction, for one order of the sentences.

    One value for each of DELETION_SHARES.
    """

    name: str
    comprehensiveness: list[float]  # without the first sentences; higher is better
    sufficiency: list[float]  # with only the first sentences; lower is better


@dataclass(frozen=True, slots=True)
class CounterfactualsFound:
    """Reviews for which deleting a set of sentences or words changes the label."""

    found: Share
    by_words: int  # how many of these sets consist of words rather than sentences
    sizes: list[int]  # number of sentences in each set of sentences
    median_share: float  # median share of the characters of the review in these sets


@dataclass(frozen=True, slots=True)
class ExplanationStability:
    """How stable explanations are when a tenth of the longer words get typos."""

    same_label: Share
    same_heaviest: Share  # of the reviews with the same label and number of sentences
    correlation: float  # median of Spearman's correlation of the weights of 3+ sentences


@dataclass(frozen=True, slots=True)
class ExplanationQuality:
    """Faithfulness and stability of the explanations."""

    reviews: int
    deletion: DeletionEffect
    rankings: list[SentenceRanking]
    counterfactuals: CounterfactualsFound
    stability: ExplanationStability


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Everything measured on one set of labelled reviews."""

    metrics: ClassificationMetrics
    label_views: list[LabelView]
    accuracy_at_80_coverage: Share
    selective: list[SelectiveResult]  # each text by the thresholds of its length group
    selective_by_length: list[SelectiveGroup]  # empty if the model has one length group
    by_length: list[Slice]
    by_rating: list[Slice]
    star_mae: float | None  # None without ratings
    label_changes: list[LabelChanges]
    pairs: list[PairAccuracy]
    single_sentences: SingleSentences | None
    behaviours: Behaviours | None  # None without the labels "negative" and "positive"
    identity: list[IdentityChanges]
    comparison: Comparison | None
    label_errors: LabelErrors
    mistakes: list[Disagreement]
    explanations: ExplanationQuality | None
