"""The results of an evaluation, as `reelsense evaluate` stores them in evaluation.json.

Shares, accuracies and probabilities are between 0 and 1.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from reelsense.errors import BundleError

FORMAT = 1
"""Version of evaluation.json."""

DELETION_SHARES = (0.1, 0.2, 0.5)
"""Minimum share of the characters of a review that is deleted or kept to test an explanation."""

ALL_CATEGORIES = "all categories"
"""Category of the identity changes over all categories."""

AUDITED = "audited labels"
"""Name of the label view with audited labels."""

CATEGORY_TARGET, OVERALL_TARGET = 0.15, 0.10
"""Maximum share of changed sentences with held-out terms, in one category and in all of them."""

Terms = Literal["held-out", "trained"]
"""Whether identity terms are kept out of training, or may be used for it."""


@dataclass(frozen=True, slots=True)
class Share:
    """`count` of `total` as a share, with its 95% confidence interval."""

    count: int
    total: int
    value: float
    low: float
    high: float

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
    macro_f1: float
    """Mean F1 of the labels that occur."""
    auroc: float | None
    """Area under the ROC curve, with the second label as the positive one; None unless both of
    two labels occur."""
    log_loss: float
    """Mean negative log-likelihood of the true label, in nats."""
    ece: float
    """Expected calibration error, 15 bins."""
    confusion: list[list[int]]
    """Rows: true label; columns: prediction; both in the order of `labels`."""


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
    score: float
    """Probability of the predicted label."""


@dataclass(frozen=True, slots=True)
class LabelErrors:
    """Labels that cleanlab considers wrong (Northcutt et al. 2021, "Confident Learning")."""

    count: int
    audited: int
    """How many of them people have audited."""
    not_upheld: int
    """How many of the audited labels people did not uphold."""
    likeliest: list[Disagreement]


@dataclass(frozen=True, slots=True)
class SelectiveResult:
    """Coverage and selective error of the decision thresholds for one target error rate."""

    risk: float
    """Target error rate."""
    thresholds: tuple[float | None, ...]
    """For each length group with texts, shortest first. None: no threshold keeps the target error
    rate, so every prediction of the group is unsure."""
    coverage: Share
    """Share of the texts with a verdict other than "unsure"."""
    selective_error: Share
    """Share of errors among them; should be at most `risk`."""

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
    max_tokens: int | None
    """None: no upper bound."""
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
    description: str
    """One sentence on what is done to the texts."""
    changed: Share
    """Of the texts that the perturbation alters."""
    target: float | None = None
    """Maximum of `changed`."""


@dataclass(frozen=True, slots=True)
class PairAccuracy:
    """Accuracy on reviews and on edited versions of them with the opposite opinion."""

    name: str
    originals: Share
    edits: Share
    both: Share
    """Pairs with both predictions correct."""


@dataclass(frozen=True, slots=True)
class SingleSentences:
    """Results on single sentences."""

    metrics: ClassificationMetrics
    accuracy: Share
    selective: list[SelectiveResult]
    selective_by_length: list[SelectiveGroup]
    """Empty if the model has one length group."""


@dataclass(frozen=True, slots=True)
class BehaviourErrors:
    """Errors on sentences that test one behaviour."""

    name: str
    description: str
    """What is tested, with an example."""
    errors: Share
    on_positive: Share
    """Errors among the positive sentences."""
    on_negative: Share
    """Errors among the negative sentences."""
    target: float | None
    """Maximum of `errors`."""


@dataclass(frozen=True, slots=True)
class NeutralSentences:
    """Predictions for sentences without an opinion, which should be "unsure"."""

    name: str
    description: str
    unsure: Share
    positive: Share
    """Share with the verdict "positive"."""


@dataclass(frozen=True, slots=True)
class Behaviours:
    """Results on template sentences that test one behaviour each."""

    errors: list[BehaviourErrors]
    neutral: list[NeutralSentences]
    """Empty for a model without decision thresholds."""


@dataclass(frozen=True, slots=True)
class TermShift:
    """How much more positive sentences are with one identity term than with the median term."""

    term: str
    shift: float
    """Mean difference in the probability of "positive"."""
    sentences: int


@dataclass(frozen=True, slots=True)
class IdentityChanges:
    """Effect of swapping the identity terms of a category on the probability of "positive"."""

    category: str
    """A category, or ALL_CATEGORIES."""
    source: str
    """Where the sentences come from: "templates" or "reviews"."""
    terms: Terms
    changed: Share
    """Sentences further than the tolerance from the median over the terms."""
    sets: Share
    """Sets (one sentence with all terms) with a range above the tolerance. Grows with the number
    of terms."""
    mean_range: float
    """Mean over the sets of the highest minus the lowest probability."""
    shifts: list[TermShift]
    """From the least to the most positive term; empty for ALL_CATEGORIES."""
    widest: tuple[str, str]
    """The two texts of the set with the largest range, the less positive one first."""

    @property
    def target(self) -> float | None:
        """Maximum of `changed`; None for terms that training may use."""
        if self.terms != "held-out":
            return None
        return OVERALL_TARGET if self.category == ALL_CATEGORIES else CATEGORY_TARGET


@dataclass(frozen=True, slots=True)
class Comparison:
    """Another model on the same reviews, with McNemar's exact test."""

    name: str
    """The other model."""
    metrics: ClassificationMetrics
    """Of the other model."""
    only_this_right: int
    only_other_right: int
    p_value: float
    """Two-sided."""


@dataclass(frozen=True, slots=True)
class DeletionEffect:
    """Mean change of the log-odds, in nats, when one sentence of a review is deleted."""

    reviews: int
    heaviest: float
    """The sentence with the largest weight."""
    random: float
    """Another sentence of similar length."""
    ratio: float | None
    """`heaviest / random`; None if `random` is 0."""


@dataclass(frozen=True, slots=True)
class SentenceRanking:
    """Mean loss in the probability of the prediction, for one order of the sentences."""

    name: str
    comprehensiveness: list[float]
    """Without the first sentences, for each of DELETION_SHARES. Higher is better."""
    sufficiency: list[float]
    """With only the first sentences. Lower is better."""


@dataclass(frozen=True, slots=True)
class CounterfactualsFound:
    """Reviews for which deleting a set of sentences or words changes the label."""

    found: Share
    by_words: int
    """How many of these sets consist of words rather than sentences."""
    sizes: list[int]
    """Number of sentences in each set of sentences."""
    median_share: float
    """Median share of the characters of the review that these sets contain."""


@dataclass(frozen=True, slots=True)
class ExplanationStability:
    """How stable explanations are when a tenth of the longer words get typos."""

    same_label: Share
    same_heaviest: Share
    """Same heaviest sentence, of the reviews with the same label and number of sentences."""
    correlation: float
    """Median over reviews with 3+ sentences of Spearman's correlation of the weights."""


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
    """Accuracy on the 80% of the reviews with the highest confidence."""
    selective: list[SelectiveResult]
    """Each text by the thresholds of its length group."""
    selective_by_length: list[SelectiveGroup]
    """Empty if the model has one length group."""
    by_length: list[Slice]
    by_rating: list[Slice]
    star_mae: float | None
    """Mean absolute error of the expected star rating."""
    label_changes: list[LabelChanges]
    pairs: list[PairAccuracy]
    single_sentences: SingleSentences | None
    behaviours: Behaviours | None
    """None for a model without the labels "negative" and "positive"."""
    identity: list[IdentityChanges]
    comparison: Comparison | None
    label_errors: LabelErrors
    mistakes: list[Disagreement]
    explanations: ExplanationQuality | None

    def without_texts(self) -> Evaluation:
        """Return a copy without the texts of the reviews, which can be published."""
        likeliest = [replace(row, text="") for row in self.label_errors.likeliest]
        return replace(
            self,
            mistakes=[replace(row, text="") for row in self.mistakes],
            label_errors=replace(self.label_errors, likeliest=likeliest),
            identity=[
                replace(row, widest=("", "")) if row.source == "reviews" else row
                for row in self.identity
            ],
        )


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot of the report."""

    name: str
    """Lower-case letters, digits and hyphens."""
    section: str
    """Id of the section of the report it belongs to."""
    caption: str
    width: int
    """In CSS pixels."""
    height: int
    svg: str
    """Follows the colour scheme of the reader."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRecord:
    """The content of evaluation.json: an evaluation, what was evaluated, and its plots."""

    format: int = FORMAT
    model: str
    version: str
    """Version of the model."""
    data: str
    """Name of the data set and its part."""
    reelsense: str
    """Version of the package that evaluated the model."""
    evaluation: Evaluation
    plots: tuple[Plot, ...] = ()

    def without_texts(self) -> EvaluationRecord:
        """Return a copy without the texts of the reviews, which can be published."""
        return replace(self, evaluation=self.evaluation.without_texts())

    def to_json(self) -> str:
        """Return the content of evaluation.json."""
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> EvaluationRecord:
        """Read the content of evaluation.json.

        Raises:
            BundleError: `text` is malformed or has a newer format (code `invalid-evaluation`).
        """
        try:
            record = TypeAdapter(cls).validate_json(text)
        except ValidationError as error:
            raise BundleError(
                f"invalid evaluation.json: {error}: run `reelsense evaluate --update-card` again",
                code="invalid-evaluation",
            ) from error
        if record.format > FORMAT:
            raise BundleError(
                f"evaluation.json has format {record.format}, expected at most {FORMAT}: install a "
                "newer reelsense",
                code="invalid-evaluation",
            )
        return record
