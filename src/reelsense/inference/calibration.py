"""Logits to calibrated probabilities, and probabilities to a verdict.

Both depend on the length group of a text. Knows numbers alone; `evaluation.calibrate` finds them on
held-out reviews.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reelsense.bundle import Calibration, LengthGroup, Manifest
from reelsense.errors import InputError
from reelsense.prediction import UNSURE

_UNCALIBRATED = Calibration(temperature=1.0)


def probabilities(
    logits: NDArray[np.float64], windows: ArrayLike = 1, calibration: Calibration | None = None
) -> NDArray[np.float64]:
    """Return the probabilities (n, labels) of mean `logits` (n, labels) over `windows` (n) each.

    Each row sums to 1; the order within a row is that of the logits. Without `calibration`, the
    plain softmax.
    """
    scaled = calibrated(logits, windows, calibration)
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def calibrated(
    logits: NDArray[np.float64], windows: ArrayLike = 1, calibration: Calibration | None = None
) -> NDArray[np.float64]:
    """Return the logits (n, labels) whose softmax are the `probabilities` of `logits`."""
    calibration = calibration or _UNCALIBRATED
    scale = np.asarray(windows, np.float64) ** calibration.window_exponent / calibration.temperature
    return np.asarray(logits * np.reshape(scale, (-1, 1)))


def group_numbers(groups: Sequence[LengthGroup], tokens: ArrayLike) -> NDArray[np.intp]:
    """Return the index in `groups` of the length group of texts of so many `tokens` (n)."""
    bounds = [group.max_tokens for group in groups[:-1]]
    return np.searchsorted(np.array(bounds, np.float64), np.asarray(tokens, np.float64))


def probabilities_by_length(
    logits: NDArray[np.float64],
    windows: NDArray[np.int64],
    tokens: ArrayLike,
    groups: Sequence[LengthGroup],
) -> NDArray[np.float64]:
    """Return the `probabilities` (n, labels) of texts, each by the calibration of its length group.

    Args:
        logits: Mean logits (n, labels) over the windows of each text.
        windows: Windows (n) of each text.
        tokens: Tokens (n) of each text, without [CLS] and [SEP].
        groups: The length groups of the model, shortest first.

    """
    numbers = group_numbers(groups, tokens)
    found = np.empty_like(logits)
    for number in np.unique(numbers):
        chosen = numbers == number
        calibration = groups[number].calibration
        found[chosen] = probabilities(logits[chosen], windows[chosen], calibration)
    return found


def window_means(outputs: NDArray[np.float64], counts: Sequence[int]) -> NDArray[np.float64]:
    """Return the means (n, outputs) of consecutive rows of `outputs`, `counts` of them (n)."""
    starts = np.cumsum([0, *counts])[:-1]
    sums = np.add.reduceat(outputs, starts, axis=0)
    return np.asarray(sums / np.array(counts)[:, np.newaxis])


def expected_stars(logits: NDArray[np.float64], ratings: Sequence[int]) -> NDArray[np.float64]:
    """Return the mean of `ratings` (k), weighted by the softmax of `logits` (n, k)."""
    # Not as a product of matrices, whose last digit depends on how many texts there are.
    return np.asarray((probabilities(logits) * np.array(ratings, dtype=np.float64)).sum(axis=1))


def decision_thresholds(manifest: Manifest, risk: float | None) -> tuple[float | None, ...]:
    """Return the least probability of a decided answer in each of `manifest.groups`.

    Args:
        manifest: The model's.
        risk: The target error rate among decided answers, above 0 and below 1; None: the model's
            own. It is kept by the threshold of the highest listed risk that is not above it.

    Returns:
        One threshold for each length group, shortest first, 0 to 1. None: every answer of the group
        is unsure, as no threshold keeps to the risk.

    Raises:
        InputError: `risk` is out of range, or the model has no thresholds.

    """
    control, groups = manifest.risk_control, manifest.groups
    if risk is None:
        if control is None or control.default_risk is None:
            return (0.0,) * len(groups)
        risk = control.default_risk
    if not isinstance(risk, int | float) or not 0 < risk < 1:
        raise InputError(f"risk must be above 0 and below 1, as 0.02 for 2 %, not {risk!r}")
    if control is None:
        raise InputError(
            f"the model {manifest.name} has no thresholds for a risk: `reelsense calibrate` finds "
            "them on labelled texts"
        )
    return tuple(group.threshold(risk) for group in groups)


def verdict(label: str, score: float, least: float | None) -> str:
    """Return `label`, or UNSURE if its probability `score` is below `least`."""
    return UNSURE if least is None or score < least else label
