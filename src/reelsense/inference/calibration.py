"""Logits to calibrated probabilities, and probabilities to a verdict.

Knows numbers alone; `evaluation.calibrate` finds them on held-out reviews.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reelsense.bundle import Calibration, Manifest, RiskControl
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


def window_means(outputs: NDArray[np.float64], counts: Sequence[int]) -> NDArray[np.float64]:
    """Return the means (n, outputs) of consecutive rows of `outputs`, `counts` of them (n)."""
    starts = np.cumsum([0, *counts])[:-1]
    sums = np.add.reduceat(outputs, starts, axis=0)
    return np.asarray(sums / np.array(counts)[:, np.newaxis])


def expected_stars(logits: NDArray[np.float64], ratings: Sequence[int]) -> NDArray[np.float64]:
    """Return the mean of `ratings` (k), weighted by the softmax of `logits` (n, k)."""
    # Not as a product of matrices, whose last digit depends on how many texts there are.
    return np.asarray((probabilities(logits) * np.array(ratings, dtype=np.float64)).sum(axis=1))


def least_score(manifest: Manifest, risk: float | None) -> float | None:
    """Return the least probability at which an answer is decided; None: none is.

    The user's `risk`, or the manifest's default, is kept by the threshold of the highest listed
    risk that is no higher. Raises InputError if `risk` is no share, or the model has no thresholds.
    """
    control = manifest.risk_control
    if risk is None:
        return default_threshold(control) if control else 0.0
    if not isinstance(risk, int | float) or not 0 < risk < 1:
        raise InputError(f"risk must be above 0 and below 1, as 0.02 for 2 %, not {risk!r}")
    if control is None:
        raise InputError(
            f"the model {manifest.name} has no thresholds for a risk: `reelsense calibrate` finds "
            "them on labelled texts"
        )
    return _threshold(control, risk)


def default_threshold(control: RiskControl) -> float | None:
    """Return the least probability at which an answer is decided where the user names no risk.

    0.0 if everything is decided, None if nothing is.
    """
    return 0.0 if control.default_risk is None else _threshold(control, control.default_risk)


def verdict(label: str, score: float, least: float | None) -> str:
    """Return `label`, or UNSURE if its probability `score` is below `least`."""
    return UNSURE if least is None or score < least else label


def _threshold(control: RiskControl, risk: float) -> float | None:
    scores = [each.score for each in control.thresholds if each.risk <= risk]
    return scores[-1] if scores else None
