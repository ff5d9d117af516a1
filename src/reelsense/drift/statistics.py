"""Two-sample tests in numpy. Each returns the size of a difference and its p-value.

The size is an estimate of the total variation distance, 0 (same distribution) to 1 (no overlap), so
that the sizes of all tests can be compared. Does not know texts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_Floats = NDArray[np.floating]

_MIN_EXPECTED = 5  # count of a category below which it is merged with the other rare ones
_FOLDS = 4
_RIDGE = 3.0  # penalty of the logistic regression, for standardized features
_STEPS = 10  # of Newton's method; it converges in fewer


@dataclass(frozen=True, slots=True)
class Difference:
    """The result of a two-sample test."""

    effect: float  # 0 to 1
    p_value: float


def kolmogorov_smirnov(first: _Floats, second: _Floats) -> Difference:
    """Compare two samples of numbers (n, m). Conservative for small samples and for ties."""
    values = np.unique(np.concatenate([first, second]))
    distributions = [
        np.searchsorted(np.sort(sample), values, side="right") / len(sample)
        for sample in (first, second)
    ]
    distance = float(np.abs(distributions[0] - distributions[1]).max())
    size = math.sqrt(len(first) * len(second) / (len(first) + len(second)))
    scaled = distance * (size + 0.12 + 0.11 / size)  # Stephens (1970)
    terms = np.arange(1, 101)
    series = float(((-1.0) ** (terms - 1) * np.exp(-2 * (terms * scaled) ** 2)).sum())
    # The series does not converge for small values, where the probability is 1.
    return Difference(distance, 1.0 if scaled < 0.2 else min(1.0, max(0.0, 2 * series)))


def chi_square(first: NDArray[np.generic], second: NDArray[np.generic]) -> Difference:
    """Compare two samples of categories (n, m). Rare categories count as one."""
    _, numbers = np.unique(np.concatenate([first, second]), return_inverse=True)
    counts = np.stack(
        [np.bincount(part, minlength=numbers.max() + 1) for part in np.split(numbers, [len(first)])]
    )
    shares = counts / counts.sum(axis=1, keepdims=True)
    effect = float(np.abs(shares[0] - shares[1]).sum() / 2)
    smaller = min(len(first), len(second)) / numbers.size
    rare = counts.sum(axis=0) * smaller < _MIN_EXPECTED
    if rare.any():
        counts = np.column_stack([counts[:, ~rare], counts[:, rare].sum(axis=1)])
    if counts.shape[1] < 2:
        return Difference(effect, 1.0)
    expected = counts.sum(axis=1, keepdims=True) * counts.sum(axis=0) / counts.sum()
    freedom = counts.shape[1] - 1
    deviation = np.abs(counts - expected)
    if freedom == 1:  # Yates' correction
        deviation = np.maximum(0, deviation - 0.5)
    statistic = float((deviation**2 / expected).sum())
    return Difference(effect, chi_square_tail(statistic, freedom))


def hotelling(first: _Floats, second: _Floats) -> Difference:
    """Compare the means of two samples of vectors (n, k) and (m, k)."""
    n, m, k = len(first), len(second), first.shape[1]
    freedom = n + m - 2
    centred = np.concatenate([first - first.mean(axis=0), second - second.mean(axis=0)])
    covariance = centred.T @ centred / freedom
    covariance += np.eye(k) * 1e-9 * np.trace(covariance)
    difference = first.mean(axis=0) - second.mean(axis=0)
    squared = float(difference @ np.linalg.solve(covariance, difference))
    # The factor corrects the approximation of the F distribution for few texts.
    statistic = squared * n * m / (n + m) * max(0, freedom - k + 1) / freedom
    unbiased = max(0.0, squared - k * (1 / n + 1 / m))
    # Of two normal distributions with the same covariance.
    effect = math.erf(math.sqrt(unbiased) / math.sqrt(8))
    return Difference(effect, chi_square_tail(statistic, k))


@dataclass(frozen=True, slots=True)
class Classification:
    """How well a classifier separates two samples of vectors."""

    auc: float  # on held-out vectors
    difference: Difference


def classify(first: _Floats, second: _Floats) -> Classification:
    """Train logistic regressions to tell two samples of vectors apart, with cross-validation.

    The p-value is that of the Mann-Whitney test on held-out vectors.
    """
    features = np.concatenate([first, second]).astype(np.float64)
    is_second = np.repeat([0.0, 1.0], [len(first), len(second)])
    features -= features.mean(axis=0)
    features /= np.maximum(features.std(axis=0), 1e-9)
    features = np.column_stack([features, np.ones(len(features))])
    folds = np.concatenate([np.arange(len(sample)) % _FOLDS for sample in (first, second)])
    aucs, variances = [], []
    for fold in range(_FOLDS):
        chosen = folds == fold
        weights = _logistic_regression(features[~chosen], is_second[~chosen])
        scores, targets = features[chosen] @ weights, is_second[chosen] == 1
        aucs.append(_auc(scores[~targets], scores[targets]))
        n, m = (~targets).sum(), targets.sum()
        variances.append((n + m + 1) / (12 * n * m))
    auc = float(np.mean(aucs))
    # The folds are not independent (Nadeau and Bengio 2003).
    z = (auc - 0.5) / math.sqrt(np.mean(variances) * (1 / _FOLDS + 1 / (_FOLDS - 1)))
    return Classification(auc, Difference(max(0.0, 2 * auc - 1), 0.5 * math.erfc(z / math.sqrt(2))))


def _logistic_regression(features: _Floats, targets: _Floats) -> _Floats:
    """Return the weights (k) of `features` (n, k). The last one, the constant, has no penalty."""
    weights = np.zeros(features.shape[1])
    penalty = np.full(features.shape[1], _RIDGE)
    penalty[-1] = 1e-6
    for _ in range(_STEPS):
        predicted = 1 / (1 + np.exp(-np.clip(features @ weights, -30, 30)))
        gradient = features.T @ (targets - predicted) - penalty * weights
        curvature = (features.T * (predicted * (1 - predicted))) @ features + np.diag(penalty)
        weights += np.linalg.solve(curvature, gradient)
    return weights


def _auc(low: _Floats, high: _Floats) -> float:
    """Return the probability that a value of `high` exceeds one of `low`; ties count half."""
    ordered = np.sort(low)
    below = np.searchsorted(ordered, high, side="left") + np.searchsorted(
        ordered, high, side="right"
    )
    return float(below.mean() / 2 / len(low))


def chi_square_tail(statistic: float, freedom: int) -> float:
    """Return the probability that a chi-square variable exceeds `statistic`."""
    half = statistic / 2
    if half <= 0:
        return 1.0
    # Q(a + 1, x) = Q(a, x) + x^a exp(-x) / gamma(a + 1)
    a, tail = (1.0, math.exp(-half)) if freedom % 2 == 0 else (0.5, math.erfc(math.sqrt(half)))
    while a < freedom / 2:
        tail += math.exp(a * math.log(half) - half - math.lgamma(a + 1))
        a += 1
    return min(1.0, tail)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values that are adjusted for the number of tests (Holm 1979)."""
    adjusted, largest = [1.0] * len(p_values), 0.0
    for rank, index in enumerate(np.argsort(p_values).tolist()):
        largest = max(largest, min(1.0, p_values[index] * (len(p_values) - rank)))
        adjusted[index] = largest
    return adjusted
