from __future__ import annotations

import json
from dataclasses import asdict
from math import isclose

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelsense.prediction import ERROR, UNSURE
from reelsense.report.results import Share
from reelsense.summary.results import Figures, Summary
from reelsense.summary.scored import difference
from reelsense.summary.summarize import MAX_GROUPS, summarize
from tests.summary.made import BINARY, KnownRow, rows_of, table

THREE = ("negative", "neutral", "positive")
SCORES, STARS = st.floats(0, 1), st.one_of(st.none(), st.floats(1, 10))
CELLS = st.fixed_dictionaries(
    {
        "film": st.sampled_from(["", "a", "b", "c"]),
        "seen": st.sampled_from(["", "2026-01-02", "2026-02", "2027-05-01", "soon"]),
        "stars": st.sampled_from(["", "1", "5", "x"]),
    },
    optional={"x": st.text(max_size=3)},
)


def known_rows(labels: tuple[str, ...]) -> st.SearchStrategy[list[KnownRow]]:
    scored = st.tuples(st.sampled_from([*labels, UNSURE]), SCORES, STARS, CELLS)
    failed = st.tuples(st.none(), st.none(), st.none(), CELLS)
    return st.lists(st.one_of(scored, failed), min_size=1, max_size=60)


TABLES = st.one_of(
    *(st.tuples(known_rows(labels), st.just(labels)) for labels in (BINARY, THREE, ("a",)))
)


def counts(figures: Figures) -> dict[str, int]:
    shares = {label: share.count for label, share in figures.shares.items()}
    return {"rows": figures.rows, "scored": figures.coverage.total, **shares}


@given(TABLES, st.data())
def test_groups_contain_every_row_once(
    made: tuple[list[KnownRow], tuple[str, ...]], data: st.DataObject
) -> None:
    rows, labels = made
    contents = table(rows, labels)
    column = data.draw(st.sampled_from([*contents.kinds, None]))
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), unique=True).map(sorted))
    for numbers in (None, np.array(chosen, np.intp)):
        summary = summarize(contents, numbers, column)
        included = rows if numbers is None else [rows[n] for n in chosen]
        total = counts(summary.total)
        assert total["rows"] == len(included) == sum(summary.verdicts.values())
        for label in labels:
            assert total[label] == sum(row[0] == label for row in included)
        assert summary.verdicts[ERROR] == sum(row[0] is None for row in included)
        assert sum(summary.stars.values()) == sum(row[2] is not None for row in included)
        if summary.group_column:
            for name, count in total.items():
                assert sum(counts(group)[name] for group in summary.groups) == count
            assert all(group.rows for group in summary.groups)
        if summary.trend:
            dated = [p for p in summary.trend.periods if p.rows]
            assert sum(p.rows for p in dated) <= len(included)
        json.dumps(asdict(summary), allow_nan=False)


@given(TABLES)
def test_estimates_lie_in_their_intervals(
    made: tuple[list[KnownRow], tuple[str, ...]],
) -> None:
    summary = summarize(table(*made))
    for figures in (summary.total, *summary.groups):
        for estimate in (figures.coverage, *figures.shares.values(), figures.stars):
            if estimate and not (isinstance(estimate, Share) and not estimate.total):
                assert estimate.low - 1e-9 <= estimate.value <= estimate.high + 1e-9
    for group in summary.groups:
        known = [share for share in group.trend if share is not None]
        assert all(0 <= share <= 1 for share in known)


def test_groups_have_figures_of_their_rows() -> None:
    rows = [*rows_of("a", 30, 10), *rows_of("b", 5, 15), (UNSURE, 0.6, 5.0, {"film": "b"})]
    summary = summarize(table(rows), group_column="film")
    first, second = summary.groups
    assert (first.value, first.rows, first.shares["positive"]) == ("a", 40, Share.of(30, 40))
    assert (second.value, second.rows) == ("b", 21)
    assert second.coverage == Share.of(20, 21)
    assert first.stars
    assert isclose(first.stars.value, (30 * 8 + 10 * 3) / 40)
    margin = 1.96 * np.std([8] * 30 + [3] * 10, ddof=1) / np.sqrt(40)
    assert first.stars.high - first.stars.value == pytest.approx(margin, rel=1e-3)
    assert first.change is None
    assert (first.trend, summary.trend) == ([], None)


def test_trend_compares_the_later_half_with_the_earlier() -> None:
    rows = [
        *rows_of("a", 40, 10, seen="2026-02-05"),
        *rows_of("a", 10, 40, seen="2026-03-05"),
        *rows_of("b", 9, 1, seen="2026-02-20"),
        *rows_of("b", 1, 1, seen="no date"),
    ]
    summary = summarize(table(rows), group_column="film")
    assert summary.trend
    assert [period.period for period in summary.trend.periods] == [
        "2026-02-05",
        "2026-02-20",
        "2026-03-05",
    ]
    assert summary.trend.split == "2026-03-05"
    assert summary.trend.change == difference(Share.of(10, 50), Share.of(49, 60))
    a, b = summary.groups
    assert a.trend == [0.8, None, 0.2]
    assert a.change == difference(Share.of(10, 50), Share.of(40, 50))
    assert b.change is None  # no later rows


def test_difference_known_interval() -> None:
    """Newcombe (1998), method 10: 56 of 70 and 48 of 80."""
    change = difference(Share.of(56, 70), Share.of(48, 80))
    assert change
    assert (round(change.low, 4), round(change.high, 4)) == (0.0524, 0.3339)
    assert change.is_clear
    assert difference(Share.of(0, 0), Share.of(1, 2)) is None


@pytest.mark.parametrize(
    ("days", "names"),
    [
        (range(1, 29), 28),
        (range(1, 28 * 30, 7), 30),  # months
        (range(1, 28 * 12 * 9, 100), 9),  # years
    ],
)
def test_periods_are_days_months_or_years(days: range, names: int) -> None:
    rows: list[KnownRow] = [
        ("positive", 0.9, None, {"on": f"{2000 + n // 336}-{n // 28 % 12 + 1:02}-{n % 28 + 1:02}"})
        for n in days
        for _ in range(2)
    ]
    trend = summarize(table(rows)).trend
    assert trend
    assert len(trend.periods) == names


def test_periods_of_a_column_of_months_are_months() -> None:
    rows: list[KnownRow] = [("positive", 0.9, None, {"on": f"2026/{n % 2 + 1}"}) for n in range(4)]
    trend = summarize(table(rows)).trend
    assert trend
    assert [period.period for period in trend.periods] == ["2026-01", "2026-02"]


def test_small_groups_are_counted_together() -> None:
    rows: list[KnownRow] = [("positive", 0.9, None, {"film": f"f{n // 2}"}) for n in range(2400)]
    summary = summarize(table(rows))
    assert len(summary.groups) == MAX_GROUPS
    assert summary.other
    assert summary.other.rows == 2400 - 2 * MAX_GROUPS


def test_label_is_positive_or_the_chosen_one() -> None:
    rows: list[KnownRow] = [(label, 0.9, None, {"film": "a"}) for label in THREE]
    assert summarize(table(rows, THREE)).label == "positive"
    assert summarize(table(rows, THREE), label="neutral").label == "neutral"


def summary_of(*rows: KnownRow) -> Summary:
    return summarize(table(list(rows)))


def test_notable_rows_are_typical_mixed_and_different() -> None:
    summary = summary_of(
        ("positive", 0.99, 9.0, {"stars": "5"}),
        ("positive", 0.97, 8.0, {"stars": "4"}),
        ("positive", 0.95, 7.0, {"stars": "1"}),
        ("negative", 0.80, 2.0, {"stars": "1"}),
        (UNSURE, 0.51, 5.0, {"stars": ""}),
        (None, None, None, {"stars": "3"}),
    )
    notable = summary.notable
    assert [row.n for row in notable.typical] == [1, 0, 2]  # the mean is 8
    assert [row.n for row in notable.mixed] == [4, 3, 2]
    assert [(row.n, row.own_stars) for row in notable.differing] == [(2, 2.0)]
    assert summary.stars_column == "stars"
    assert notable.mixed[0].text == "text 4"


def test_table_without_predictions_has_no_notable_rows() -> None:
    notable = summary_of((None, None, None, {})).notable
    assert (notable.typical, notable.mixed, notable.differing) == ([], [], [])
