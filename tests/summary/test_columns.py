from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelsense.summary.columns import (
    MAX_COLUMNS,
    MAX_VALUES,
    Column,
    ColumnEncoder,
    default_group,
    group_value,
    other_cells,
    parsed_date,
)
from reelsense.tables.row import Row

CELLS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.floats(),
    st.text(max_size=4),
    st.sampled_from(["a", " a", "2026-01-02", "2026-01-02T10:11:12"]),
    st.lists(st.integers(), max_size=1),
)
ROWS = st.lists(st.dictionaries(st.sampled_from(["text", "x", "y", "\ud800"]), CELLS), max_size=30)


def encoded(*rows: Mapping[str, object]) -> dict[str, Column]:
    encoder = ColumnEncoder("text")
    for line, values in enumerate(rows, start=2):
        encoder.add(Row(line, dict(values)))
    return {column.name: column for column in encoder.columns()}


@given(ROWS)
def test_column_encoder_keeps_the_value_of_every_row(rows: list[dict[str, object]]) -> None:
    columns = encoded(*rows)
    assert "text" not in columns
    for name, column in columns.items():
        assert column.values[0] == ""
        assert len(set(column.values)) == len(column.values)
        cells = [other_cells(Row(1, row), "text").get(name, "") for row in rows]
        assert [column.values[code] for code in column.codes] == list(map(group_value, cells))
        "".join(column.values).encode()  # UTF-8 can encode them


def test_column_encoder_drops_ids_and_keeps_repeated_values() -> None:
    rows = [{"id": n, "film": f"f{n % 9}", "note": "", "twice": n // 2} for n in range(400)]
    assert set(encoded(*rows)) == {"film", "twice"}
    assert encoded(*rows[:50])["id"].kind == "unique"


def test_column_encoder_limits_values_and_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = {f"c{n}": 1 for n in range(MAX_COLUMNS + 5)}
    assert list(encoded(wide, wide)) == list(wide)[:MAX_COLUMNS]
    monkeypatch.setattr("reelsense.summary.columns.MAX_VALUES", 10)
    rows = [{"few": n % 9, "many": n % 11} for n in range(60)]
    assert set(encoded(*rows)) == {"few"}
    monkeypatch.setattr("reelsense.summary.columns.MAX_VALUES", MAX_VALUES)
    monkeypatch.setattr("reelsense.summary.columns._MAX_ALL_VALUES", 15)
    assert set(encoded(*rows)) == {"few"}  # both have 20 values together


@pytest.mark.parametrize(
    ("name", "values", "kind"),
    [
        ("seen", ["2026-11-30", "2026-11-30T10:00:00", "2026-12-01", "2026-12-01"], "date"),
        ("month", ["2026-11", "2026/12", "2026.01", "2026-11"], "date"),
        ("seen", ["2026-13-01", "2026-02-30", "2026-11-30", "2026-11-30"], ""),
        ("seen", ["30/11/2026", "30/11/2026", "01/12/2026", "x"], ""),
        ("Star rating", ["1", "2,5", "5", "5"], "stars"),
        ("stars", ["good", "bad", "good", "3"], ""),
        ("other", ["1", "2", "5", "5"], ""),
        ("name", ["a", "b", "c", "d"], "unique"),
    ],
)
def test_columns_have_a_kind(name: str, values: list[str], kind: str) -> None:
    assert encoded(*({name: value} for value in values))[name].kind == kind


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["1", "5"], [2.0, 10.0]),
        (["1", "10"], [1.0, 10.0]),
        (["20", "100"], [2.0, 10.0]),
        (["5", "-1", "?", "101", "nan"], [10.0, None, None, None, None]),
    ],
)
def test_stars_are_of_ten(given: list[str], expected: list[float | None]) -> None:
    column = Column("stars", "stars", ["", *given], np.arange(len(given) + 1, dtype=np.int32))
    stars = column.stars_of(np.arange(1, len(given) + 1))
    assert [None if np.isnan(star) else star for star in stars] == expected


def test_stars_without_numbers_are_unknown() -> None:
    column = Column("stars", "stars", ["", "x"], np.array([0, 1], np.int32))
    assert np.isnan(column.stars_of(np.arange(2))).all()


def test_parsed_date_of_month_is_its_first_day() -> None:
    assert parsed_date("2026-11") == date(2026, 11, 1)
    assert parsed_date("2026-11-30") == date(2026, 11, 30)
    assert parsed_date("0000-01") is None


@pytest.mark.parametrize(
    ("kinds", "name"),
    [
        ([("id", "unique"), ("day", "date"), ("film", "")], "film"),
        ([("id", "unique"), ("day", "date")], "id"),
        ([], None),
    ],
)
def test_default_group_prefers_names_that_repeat(kinds: list[tuple], name: str | None) -> None:  # type: ignore[type-arg]
    assert default_group(kinds) == name
