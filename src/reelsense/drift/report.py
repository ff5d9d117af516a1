"""Compare current texts with a reference profile: measures, alert level and reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reelsense.bundle import Manifest
from reelsense.drift.accuracy import EstimatedAccuracy, estimated_accuracy
from reelsense.drift.profile import Rows
from reelsense.drift.statistics import (
    Difference,
    chi_square,
    classify,
    holm,
    hotelling,
    kolmogorov_smirnov,
)
from reelsense.prediction import UNSURE

NONE, WARNING, ALARM = "none", "warning", "alarm"
ALERTS = (NONE, WARNING, ALARM)
"""Alert levels, from low to high."""

MIN_TEXTS = 30
"""Minimum number of texts, and of validation texts, for an alert."""

# The p-value, adjusted for the number of measures, and the effect of an alert. A small effect is
# not worth an alert, however many texts prove it.
_LIMITS = {ALARM: (0.0001, 0.25), WARNING: (0.001, 0.15)}

MEASURES = (
    *("classifier", "length", "unknown_tokens", "confidence", "labels", "unsure", "language"),
    *("embedding_centroid", "embedding_spread"),
)
"""The names of all measures."""

_SHOWN = 4  # categories of a measure
_MAX_LABELS = 20  # of a model whose labels are features of the classifier

Value = float | dict[str, float]
"""The value of a measure: a number, or the shares of the most frequent categories."""


@dataclass(frozen=True, slots=True)
class Measure:
    """How one property of the texts differs from the reference profile."""

    name: str
    test: str
    reference: Value
    current: Value
    effect: float
    """Estimated total variation distance, 0 to 1."""
    p_value: float
    """Adjusted for the number of measures."""
    alert: str = NONE

    def cells(self) -> tuple[str, ...]:
        """Return name, alert, effect, p-value, reference and current, formatted for a table."""
        values = (_formatted(self.reference), _formatted(self.current))
        p_value = f"{self.p_value:.4f}" if self.p_value >= 0.0001 else "< 0.0001"
        name = self.name.replace("_", " ")
        return (name, self.alert, f"{self.effect:.2f}", p_value, *values)

    def __str__(self) -> str:
        if isinstance(self.reference, dict) and isinstance(self.current, dict):
            before, now = self.reference, self.current
            name = max(now, key=lambda name: abs(now[name] - before[name]))
            change = f"{now[name]:.0%} {name} instead of {before[name]:.0%}"
        else:
            change = f"{_formatted(self.current)} instead of {_formatted(self.reference)}"
        return f"{self.name.replace('_', ' ')}: {change}"


@dataclass(frozen=True, slots=True)
class DriftReport:
    """The comparison of current texts with the reference profile of a model."""

    alert: str
    """One of ALERTS."""
    reason: str
    texts: int
    reference_texts: int
    since: float | None = None
    """Time of the oldest text in seconds since 1970; None: not known."""
    measures: tuple[Measure, ...] = ()
    auc: float | None = None
    """AUC of a classifier of current against reference texts: 0.5 if they do not differ."""
    estimated_accuracy: EstimatedAccuracy | None = None


def compare(manifest: Manifest, reference: Rows | None, current: Rows) -> DriftReport:
    """Compare `current` texts with those of the `reference` profile of the model of `manifest`.

    `reference` None: the bundle has no profile.
    """
    if reference is None:
        reason = (
            "The bundle has no reference profile: add one with `reelsense calibrate --profile-only`"
        )
        return DriftReport(NONE, reason, len(current), 0)
    for name, rows in (("texts", current), ("validation texts", reference)):
        if len(rows) < MIN_TEXTS:
            reason = f"Too few {name}: {len(rows)} of at least {MIN_TEXTS}"
            return DriftReport(NONE, reason, len(current), len(reference))
    vectors = _standardized(reference["embedding"], current["embedding"])
    separation = classify(*_features(len(manifest.labels), reference, current, vectors))
    auc = separation.auc
    measures = [
        _measure("classifier", "Mann-Whitney", (0.5, auc), separation.difference),
        *_measures(np.array(manifest.labels), reference, current, vectors),
    ]
    p_values = holm([measure.p_value for measure in measures])
    measures = [_judged(measure, p) for measure, p in zip(measures, p_values, strict=True)]
    alert = max((measure.alert for measure in measures), key=ALERTS.index)
    worst = sorted((m for m in measures if m.alert == alert), key=lambda m: -m.effect)
    reason = "; ".join(map(str, worst)) if alert != NONE else "No measure differs enough"
    return DriftReport(
        alert=alert,
        reason=reason,
        texts=len(current),
        reference_texts=len(reference),
        since=float(current["time"].min()) or None,
        measures=tuple(measures),
        auc=auc,
        estimated_accuracy=estimated_accuracy(manifest.labels, current, alert),
    )


def _formatted(value: Value) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {share:.0%}" for name, share in value.items())
    return f"{value:.3g}"


def _judged(measure: Measure, p_value: float) -> Measure:
    """Return `measure` with the adjusted `p_value` and its alert level."""
    alerts = [
        alert
        for alert, (max_p_value, min_effect) in _LIMITS.items()
        if p_value < max_p_value and measure.effect >= min_effect
    ]
    return replace(measure, p_value=p_value, alert=alerts[0] if alerts else NONE)


def _measures(
    labels: NDArray[np.str_], reference: Rows, current: Rows, vectors: Sequence[NDArray[np.float64]]
) -> Iterator[Measure]:
    """Yield the measures of single properties, with p-values of single tests."""
    both = (reference, current)
    yield _of_numbers("length", [rows["tokens"] for rows in both], np.median)
    yield _of_numbers("unknown_tokens", [rows["unknown"] for rows in both])
    yield _of_numbers("confidence", [rows["confidence"] for rows in both])
    yield _of_categories("labels", [labels[rows["label"]] for rows in both])
    yield _of_categories("unsure", [np.where(rows["unsure"], UNSURE, "sure") for rows in both])
    yield _of_categories("language", [rows["language"].astype(str) for rows in both])
    if vectors:
        shift = float(np.linalg.norm(vectors[1].mean(axis=0)))
        yield _measure("embedding_centroid", "Hotelling", (0.0, shift), hotelling(*vectors))
        yield _of_numbers("embedding_spread", [np.linalg.norm(part, axis=1) for part in vectors])


# The following functions take a pair: the values of the reference and the current ones.


def _of_numbers(
    name: str, pair: Sequence[NDArray[Any]], mean: Callable[..., Any] = np.mean
) -> Measure:
    values = [float(mean(part.astype(np.float64))) for part in pair]
    return _measure(name, "Kolmogorov-Smirnov", values, kolmogorov_smirnov(*pair))


def _of_categories(name: str, pair: Sequence[NDArray[Any]]) -> Measure:
    counts = [Counter(part.tolist()) for part in pair]
    shares = [
        {category: count / len(part) for category, count in counted.items()}
        for counted, part in zip(counts, pair, strict=True)
    ]
    largest = {
        category: max(part.get(category, 0.0) for part in shares)
        for category in counts[0] | counts[1]
    }
    shown = sorted(largest, key=lambda category: -largest[category])[:_SHOWN]
    values = [{category: part.get(category, 0.0) for category in shown} for part in shares]
    return _measure(name, "chi-square", values, chi_square(*pair))


def _measure(name: str, test: str, pair: Sequence[Value], difference: Difference) -> Measure:
    reference, current = pair
    return Measure(name, test, reference, current, difference.effect, difference.p_value)


def _standardized(
    reference: NDArray[np.float32], current: NDArray[np.float32]
) -> list[NDArray[np.float64]]:
    """Return both embeddings (n, k), each dimension with mean 0 and deviation 1 in the reference.

    An empty list if some texts have no embedding.
    """
    if not (np.isfinite(reference).all() and np.isfinite(current).all()):
        return []
    centroid = reference.mean(axis=0, dtype=np.float64)
    spread = np.maximum(reference.std(axis=0, dtype=np.float64), 1e-9)
    return [(part - centroid) / spread for part in (reference, current)]


def _features(
    labels: int, reference: Rows, current: Rows, vectors: Sequence[NDArray[np.float64]]
) -> Iterator[NDArray[np.float64]]:
    """Yield the features (n, k) of both samples for the classifier."""
    usual = Counter(reference["language"].tolist()).most_common(1)[0][0]
    for n, rows in enumerate((reference, current)):
        columns = [
            np.log(rows["tokens"]),
            rows["unknown"],
            rows["confidence"],
            rows["unsure"],
            rows["language"] == usual,
            *(rows["label"] == label for label in range(min(labels, _MAX_LABELS))),
        ]
        yield np.column_stack([*columns, *vectors[n : n + 1]])
