"""The manifest of a bundle: labels, calibration, decision thresholds, metrics and provenance."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypedDict

from reelsense.errors import BundleError

MANIFEST = "manifest.json"

# Newest format this version reads. Format 1 had no calibration; format 2 had one calibration for
# texts of every length, and the network in one file; format 3 had no title, unit and examples;
# format 4 had no cascades. Bundles get the lowest format that has all they need, so that older
# versions can read them.
FORMAT, PRESENTATION_FORMAT, GROUPED_FORMAT, SIMPLE_FORMAT = 5, 4, 3, 2

# Keys that the first bundles of their format did not have; omitted if empty.
_LATER_KEYS = ("ratings", "int8_activations", "length_groups", "cascade")

_PRESENTATION_KEYS = ("title", "unit", "examples")  # likewise, for people only

# Keys that affect predictions, and therefore the version.
_DECISIVE_KEYS = ("labels", "window", "calibration", "risk_control", *_LATER_KEYS)

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


def needed_format(manifest: Manifest, *, split_network: bool) -> int:
    """Return the lowest format of a bundle with this manifest."""
    if manifest.cascade:
        return FORMAT
    if any(getattr(manifest, key) for key in _PRESENTATION_KEYS):
        return PRESENTATION_FORMAT
    return GROUPED_FORMAT if split_network or manifest.length_groups else SIMPLE_FORMAT


def manifest_content(manifest: Manifest) -> dict[str, Any]:
    """Return the content of manifest.json, without empty keys unknown to older versions."""
    content = asdict(manifest)
    optional = (*_LATER_KEYS, *_PRESENTATION_KEYS)
    return {key: value for key, value in content.items() if value or key not in optional}


def decisive_content(manifest: Manifest) -> bytes:
    """Return the part of the content of manifest.json that affects predictions, for hashing."""
    content = manifest_content(manifest)
    decisive = {key: content[key] for key in _DECISIVE_KEYS if key in content}
    return json.dumps(decisive, sort_keys=True).encode()


def serialize(content: dict[str, Any]) -> bytes:
    """Return manifest.json with this content and its SHA-256; by default in FORMAT."""
    body = json.dumps({"format": FORMAT} | content, indent=2, sort_keys=True)
    sealed = json.loads(body) | {"sha256": hashlib.sha256(body.encode()).hexdigest()}
    return (json.dumps(sealed, indent=2, sort_keys=True) + "\n").encode()


def parse(path: Path, raw: bytes) -> Manifest:
    """Parse and verify the content `raw` of the manifest at `path`.

    Raises BundleError (`invalid-bundle`, `bundle-changed`, `bundle-too-new`).
    """
    try:
        content = json.loads(raw, parse_constant=_reject_constant)
        version = content["format"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BundleError(f"{path} is not the manifest of a bundle: {error!r}") from error
    if type(version) is not int or version < 1:
        raise BundleError(f"{path} has format {version!r}: expected a number from 1 to {FORMAT}")
    if version > FORMAT:
        raise BundleError(
            f"{path} has format {version}, expected at most {FORMAT}: upgrade reelsense",
            code="bundle-too-new",
        )
    content.pop("sha256", None)
    if raw != serialize(content):
        raise BundleError(
            f"{path} was changed after the bundle was written: copy the bundle again",
            code="bundle-changed",
        )
    del content["format"]
    try:
        return _manifest(**content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BundleError(
            f"missing, unknown or invalid key in {path}: {error}: copy the bundle again"
        ) from error


def _reject_constant(name: str) -> None:
    raise ValueError(f"{name} is not valid JSON")


def _manifest(
    labels: list[str],
    ratings: list[int] | None = None,
    calibration: dict[str, Any] | None = None,
    risk_control: dict[str, Any] | None = None,
    length_groups: list[dict[str, Any]] | None = None,
    cascade: dict[str, Any] | None = None,
    **rest: Any,
) -> Manifest:
    for value, type_ in (
        *((value, list) for value in (labels, ratings, length_groups)),
        *((value, dict) for value in (calibration, risk_control, cascade)),
    ):
        if value is not None and not isinstance(value, type_):
            raise TypeError(f"{value!r:.100} is not a {type_.__name__}")
    return Manifest(
        labels=tuple(labels),
        ratings=tuple(ratings or ()),
        calibration=_calibration(calibration),
        risk_control=RiskControl(**_with_thresholds(risk_control)) if risk_control else None,
        length_groups=tuple(
            LengthGroup(
                **_with_thresholds(group) | {"calibration": _calibration(group["calibration"])}
            )
            for group in length_groups or ()
        ),
        cascade=Cascade(**cascade | {"models": tuple(_references(cascade))}) if cascade else None,
        **rest,
    )


def _calibration(content: dict[str, Any] | None) -> Calibration | None:
    return Calibration(**content) if content else None


def _references(cascade: dict[str, Any]) -> Iterator[ModelReference]:
    for reference in cascade["models"]:
        yield ModelReference(**reference)


def _with_thresholds(content: dict[str, Any]) -> dict[str, Any]:
    thresholds = tuple(Threshold(**threshold) for threshold in content["thresholds"])
    return content | {"thresholds": thresholds}
