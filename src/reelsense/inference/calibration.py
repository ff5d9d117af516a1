"""Logits to calibrated probabilities, and probabilities to a verdict, by length group.

Does not know texts; `evaluation.calibrate` fits the parameters on the validation set.
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
    """Return the softmax (n, labels) of `calibrated` logits."""
    scaled = calibrated(logits, windows, calibration)
    exponentials = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def calibrated(
    logits: NDArray[np.float64], windows: ArrayLike = 1, calibration: Calibration | None = None
) -> NDArray[np.float64]:
    """Return calibrated logits (n, labels), by default unchanged.

    `logits` are means (n, labels) over the `windows` (n) of each text.
    """
    calibration = calibration or _UNCALIBRATED
    scale = np.asarray(windows, np.float64) ** calibration.window_exponent / calibration.temperature
    return np.asarray(logits * np.reshape(scale, (-1, 1)))


def group_numbers(groups: Sequence[LengthGroup], tokens: ArrayLike) -> NDArray[np.intp]:
    """Return the index (n) in `groups` of the length group for each number of `tokens` (n)."""
    bounds = [group.max_tokens for group in groups[:-1]]
    return np.searchsorted(np.array(bounds, np.float64), np.asarray(tokens, np.float64))


def probabilities_by_group(
    logits: NDArray[np.float64],
    windows: NDArray[np.int64],
    groups: NDArray[np.intp],
    calibrations: Sequence[Calibration | None],
) -> NDArray[np.float64]:
    """Return probabilities (n, labels), each text with the calibration of its length group.

    `logits` and `windows` are those of `calibrated`, and `groups` (n) are indices into
    `calibrations`.
    """
    result = np.empty_like(logits)
    for group in np.unique(groups):
        rows = groups == group
        result[rows] = probabilities(logits[rows], windows[rows], calibrations[group])
    return result


def window_means(outputs: NDArray[np.float64], counts: Sequence[int]) -> NDArray[np.float64]:
    """Return the means (n, outputs) of consecutive rows of `outputs`, `counts[i]` for text i."""
    starts = np.cumsum([0, *counts])[:-1]
    sums = np.add.reduceat(outputs, starts, axis=0)
    return np.asarray(sums / np.array(counts)[:, np.newaxis])


def expected_stars(logits: NDArray[np.float64], ratings: Sequence[int]) -> NDArray[np.float64]:
    """Return the mean (n) of `ratings` (k), weighted by the softmax of `logits` (n, k)."""
    # Not a matrix product: its last digit depends on the number of texts.
    return np.asarray((probabilities(logits) * np.array(ratings, dtype=np.float64)).sum(axis=1))


def decision_thresholds(manifest: Manifest, risk: float | None) -> tuple[float | None, ...]:
    """Return the decision threshold (0 to 1) of each of `manifest.groups`.

    `risk` is the target error rate; None: the default of the model. A threshold of None means that
    the rate cannot be met: every verdict of the group is unsure. Raises InputError.
    """
    control, groups = manifest.risk_control, manifest.groups
    if risk is None:
        if control is None or control.default_risk is None:
            return (0.0,) * len(groups)
        risk = control.default_risk
    if not isinstance(risk, int | float) or not 0 < risk < 1:
        raise InputError(
            f"invalid risk {risk!r}: expected a number above 0 and below 1, such as 0.02 for 2 %",
            code="invalid-risk",
        )
    if control is None:
        raise InputError(
            f"the model {manifest.name} has no decision thresholds for a target error rate: run "
            "`reelsense calibrate` on labelled texts to add them",
            code="no-thresholds",
        )
    return tuple(group.threshold(risk) for group in groups)


def verdict(label: str, score: float, threshold: float | None) -> str:
    """Return `label`, or UNSURE if its probability `score` is below the threshold."""
    return UNSURE if threshold is None or score < threshold else label
