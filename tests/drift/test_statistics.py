import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from reelsense.drift.statistics import (
    chi_square,
    chi_square_tail,
    classify,
    holm,
    hotelling,
    kolmogorov_smirnov,
)

NUMBERS = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50).map(np.array)
CATEGORIES = st.lists(st.sampled_from("abcd"), min_size=1, max_size=80).map(np.array)


def normal(count: int, mean: float = 0, size: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, 1, (count, size))


@given(NUMBERS, NUMBERS)
def test_kolmogorov_smirnov_effect_is_the_largest_difference(
    first: np.ndarray, second: np.ndarray
) -> None:
    found = kolmogorov_smirnov(first, second)
    values = [*first, *second]
    largest = max(abs((first <= value).mean() - (second <= value).mean()) for value in values)
    assert found.effect == pytest.approx(largest)
    assert 0 <= found.p_value <= 1
    assert kolmogorov_smirnov(second, first) == found
    assert kolmogorov_smirnov(first, first).p_value == 1


@pytest.mark.parametrize("shift", [0.0, 0.1, 0.2, 0.4])
def test_kolmogorov_smirnov_p_value_is_accurate(shift: float) -> None:
    first, second = normal(1000)[:, 0], normal(500, shift, seed=1)[:, 0]
    expected = stats.ks_2samp(first, second, method="exact").pvalue
    assert kolmogorov_smirnov(first, second).p_value == pytest.approx(expected, rel=0.15)


@given(st.floats(0.01, 300), st.integers(1, 40))
def test_chi_square_tail_agrees_with_scipy(statistic: float, freedom: int) -> None:
    expected = stats.chi2.sf(statistic, freedom)
    assert chi_square_tail(statistic, freedom) == pytest.approx(expected, rel=1e-6, abs=1e-300)


def test_chi_square_agrees_with_scipy() -> None:
    first, second = (
        np.repeat(["a", "b", "c"], [50, 30, 20]),
        np.repeat(["a", "b", "c"], [20, 20, 40]),
    )
    found = chi_square(first, second)
    table = [[50, 30, 20], [20, 20, 40]]
    assert found.p_value == pytest.approx(stats.chi2_contingency(table).pvalue)
    assert found.effect == pytest.approx(0.3)
    two = chi_square(first[:80], second[:40])  # with Yates' correction
    assert two.p_value == pytest.approx(stats.chi2_contingency([[50, 30], [20, 20]]).pvalue)


@given(CATEGORIES, CATEGORIES)
def test_chi_square_of_any_categories_is_in_range(first: np.ndarray, second: np.ndarray) -> None:
    found = chi_square(first, second)
    assert 0 <= found.effect <= 1
    assert 0 <= found.p_value <= 1
    assert chi_square(first, first).p_value == 1


def test_chi_square_merges_rare_categories() -> None:
    """A hundred categories that occur once would otherwise be a hundred degrees of freedom."""
    usual = np.repeat("en", 1000)
    some = np.concatenate([np.repeat("en", 30), [f"{n}" for n in range(30)]])
    assert chi_square(usual, some).p_value < 1e-10
    assert chi_square(usual, some).effect == pytest.approx(0.5)


def test_hotelling_agrees_with_the_f_distribution() -> None:
    first, second = normal(300), normal(60, 0.3, seed=1)
    found = hotelling(first, second)
    n, m, k = 300, 60, 4
    pooled = ((n - 1) * np.cov(first.T) + (m - 1) * np.cov(second.T)) / (n + m - 2)
    shift = first.mean(axis=0) - second.mean(axis=0)
    squared = n * m / (n + m) * shift @ np.linalg.inv(pooled) @ shift
    expected = stats.f.sf(squared * (n + m - k - 1) / (k * (n + m - 2)), k, n + m - k - 1)
    assert found.p_value == pytest.approx(expected, rel=0.35)
    assert found.effect == pytest.approx(0.24, abs=0.1)  # 0.3 in each of four dimensions
    assert hotelling(first, normal(60, seed=2)).p_value > 0.01


def test_classify_finds_a_difference_that_no_single_feature_shows() -> None:
    random = np.random.default_rng(0)
    base = random.normal(0, 1, (1000, 1))
    related = np.hstack([base, base + random.normal(0, 0.3, (1000, 1))])
    turned = related[:500] + np.array([0.3, -0.3])
    found = classify(related, turned)
    assert found.auc > 0.7
    assert found.difference.p_value < 1e-10
    assert found.difference.effect == pytest.approx(2 * found.auc - 1)


def test_classify_of_constant_and_separable_features_is_finite() -> None:
    first, second = np.zeros((40, 2)), np.column_stack([np.zeros(30), np.ones(30)])
    assert classify(first, second).auc == 1
    same = classify(first, first)
    assert (same.auc, same.difference.effect) == (0.5, 0)


def test_p_values_of_equal_samples_are_not_too_small() -> None:
    """At most 5 % of the samples may differ at the level of 5 %."""
    tests = {"classifier": 0, "means": 0, "numbers": 0, "categories": 0}
    for seed in range(200):
        first, second = normal(400, seed=2 * seed), normal(100, seed=2 * seed + 1)
        tests["classifier"] += classify(first, second).difference.p_value < 0.05
        tests["means"] += hotelling(first, second).p_value < 0.05
        tests["numbers"] += kolmogorov_smirnov(first[:, 0], second[:, 0]).p_value < 0.05
        tests["categories"] += chi_square(first[:, 0] > 0, second[:, 0] > 0).p_value < 0.05
    assert max(tests.values()) <= 19  # of 200; 10 are expected, more than 19 in 1 of 500 runs


def test_holm_adjusts_for_the_number_of_tests() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
