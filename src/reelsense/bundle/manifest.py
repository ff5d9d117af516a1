"""The manifest of a bundle: labels, calibration, decision thresholds, metrics and provenance."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, TypedDict

MANIFEST = "manifest.json"


_MAX_LISTED = 4  # labels in a heading


class OfficialTestMetrics(TypedDict, total=False):
    """Metrics on the official test set."""

    reviews: int
    accuracy: float


class ValidationMetrics(TypedDict, total=False):
    """Metrics on the validation set at export."""

    reviews: int
    accuracy_fp32: float
    accuracy_int8: float
    label_agreement_with_fp32: float


class BundleMetrics(TypedDict, total=False):
    """Metrics in the manifest. Older manifests have other keys; these are kept."""

    test: OfficialTestMetrics
    validation: ValidationMetrics


class Provenance(TypedDict, total=False):
    """How the model was made. Older manifests have other keys; these are kept."""

    recipe: dict[str, Any]
    earlier_recipes: list[dict[str, Any]]
    data: str  # name of the training data
    extra_examples: dict[str, int]  # name and number of examples of each additional training set
    read: dict[str, int]  # number of texts and steps of continued pre-training
    base_sha256: str
    architecture: str
    network: str  # numeric format of the network
    curves: dict[str, Any]  # "loss" of the training steps, "validation" of the epochs, and a "note"
    training_validation: dict[str, float]  # metrics of the checkpoint on the validation set
    versions: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Parameters that turn logits into calibrated probabilities, and how they were fitted."""

    temperature: float  # divides the logits (Guo et al. 2017); above 1 for overconfident networks
    # The mean logits of n windows are multiplied by n to this power, because n windows that agree
    # are stronger evidence than one.
    window_exponent: float = 0.0
    data: str = ""  # name of the data it was fitted on
    reviews: int = 0  # number of reviews it was fitted on
    ece_before: float | None = None  # expected calibration error (15 bins) of the plain softmax
    ece_after: float | None = None  # the same after calibration, cross-fitted


@dataclass(frozen=True, slots=True)
class Threshold:
    """Decision threshold for a target error rate."""

    risk: float  # target error rate: maximum share of errors in the verdicts other than "unsure"
    score: float | None  # minimum probability of such a verdict; None: the rate cannot be met


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthGroup:
    """Calibration and decision thresholds for texts in a range of lengths."""

    name: str  # stable identifier: "sentence", "short", "long"; "all" if it is the only group
    # Maximum length in tokens without [CLS] and [SEP]; None: no limit. The minimum follows from the
    # next shorter group.
    max_tokens: int | None
    calibration: Calibration | None = None  # None: plain softmax
    thresholds: tuple[Threshold, ...] = ()  # in ascending order of risk

    def threshold(self, risk: float) -> float | None:
        """Return the decision threshold of the highest listed target error rate up to `risk`.

        None: every verdict is unsure.
        """
        scores = [threshold.score for threshold in self.thresholds if threshold.risk <= risk]
        return scores[-1] if scores else None


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskControl:
    """When to predict "unsure" so that the other predictions keep a target error rate."""

    method: str
    confidence: float  # probability, over validation sets, that a threshold keeps its error rate
    reviews: int  # number of validation reviews that the thresholds were fitted on
    default_risk: float | None  # default target error rate; None (older bundles): never unsure
    thresholds: tuple[Threshold, ...]  # in ascending order of risk


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelReference:
    """Another bundle."""

    name: str  # of an installed model
    version: str
    files: dict[str, str]  # SHA-256 of its network and tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Cascade:
    """Two models, the second of which scores the texts that the first is not confident about."""

    models: tuple[ModelReference, ...]
    threshold: float  # highest probability of the first model at which the second one answers


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The content of manifest.json."""

    name: str
    labels: tuple[str, ...]  # in the order of the outputs of the network
    window: int  # maximum number of tokens of one forward pass, including [CLS] and [SEP]
    ratings: tuple[int, ...] = ()  # of the outputs after those of the labels; empty: no stars
    # For texts longer than all `length_groups`; None: plain softmax, and no verdict is unsure.
    calibration: Calibration | None = None
    risk_control: RiskControl | None = None
    # For shorter texts, in ascending order of `max_tokens`; empty in formats 1 and 2.
    length_groups: tuple[LengthGroup, ...] = ()
    title: str = ""  # of the page for one text; empty: made from `unit` and `labels`
    unit: str = ""  # what is classified, a singular noun such as "review"; empty: "text"
    examples: dict[str, str] = field(default_factory=dict)  # texts to try, by name
    cascade: Cascade | None = None  # instead of a network
    int8_activations: bool = False  # whether inputs of linear layers may be rounded to int8 too
    metrics: BundleMetrics = field(default_factory=BundleMetrics)
    provenance: Provenance = field(default_factory=Provenance)
    # Set by `write_bundle`: twelve hex digits of the SHA-256 of all that affects predictions, and
    # the SHA-256 of every other file.
    version: str = ""
    files: dict[str, str] = field(default_factory=dict)

    @property
    def test_accuracy(self) -> float | None:
        """Accuracy on the official test set; None if it was not measured."""
        test: object = self.metrics.get("test")
        accuracy = test.get("accuracy") if isinstance(test, dict) else None
        return accuracy if isinstance(accuracy, float) else None

    @property
    def noun(self) -> str:
        """What the model classifies, such as "review"."""
        return self.unit or "text"

    @property
    def nouns(self) -> str:
        """Plural of `noun`."""
        return plural(self.noun)

    @property
    def heading(self) -> str:
        """Title of the page for one text."""
        if self.title or len(self.labels) > _MAX_LISTED:
            return self.title or f"Which label fits this {self.noun}?"
        *labels, last = self.labels
        return f"Is this {self.noun} {', '.join(labels)} or {last}?"

    @property
    def groups(self) -> tuple[LengthGroup, ...]:
        """All length groups, at least one, in ascending order of length; the last is unbounded."""
        last = LengthGroup(
            name="long" if self.length_groups else "all",
            max_tokens=None,
            calibration=self.calibration,
            thresholds=self.risk_control.thresholds if self.risk_control else (),
        )
        return (*self.length_groups, last)

    def abstention(self, risk: float | None = None) -> str:
        """Return why every verdict is "unsure" at the target error rate `risk`; empty if not all.

        `risk` None: the default of the model.
        """
        if risk is None and self.risk_control:
            risk = self.risk_control.default_risk
        if risk is None or any(group.threshold(risk) is not None for group in self.groups):
            return ""
        rows = [row for group in self.groups for row in group.thresholds]
        if met := [row.risk for row in rows if row.score is not None]:
            rest = f"The lowest rate that it can meet is {min(met) * 100:g} %."
        else:
            rest = (
                "It cannot meet a higher one either: it is not accurate enough, or was calibrated "
                "on too few texts."
            )
        return (
            "Every verdict is unsure: on its validation data, the model cannot meet a target error "
            f"rate of {risk * 100:g} %. {rest}"
        )


def plural(noun: str) -> str:
    """Return the plural of a regular English noun."""
    if re.search(r"[^aeiou]y$", noun):
        return f"{noun[:-1]}ies"
    return noun + ("es" if re.search(r"(s|x|z|ch|sh)$", noun) else "s")
