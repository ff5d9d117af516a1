"""Excel files, compared with what openpyxl writes."""

from __future__ import annotations

import io
from contextlib import suppress
from datetime import date, datetime, time
from typing import Any

import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelsense.errors import DatasetError
from reelsense.tables.excel import sheet_rows

TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20).filter(
    lambda text: not text.startswith("=") and text.strip() == text and "_x" not in text
)
CELLS = st.one_of(
    TEXTS,
    st.integers(-(10**9), 10**9),
    st.booleans(),
    st.floats(-1e6, 1e6).map(lambda number: round(number, 3)),
    st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)).map(
        lambda moment: moment.replace(microsecond=0)
    ),
)


def written(rows: list[list[Any]], **properties: Any) -> io.BytesIO:
    workbook = openpyxl.Workbook()
    for name, value in properties.items():
        setattr(workbook, name, value)
    for row in rows:
        workbook.active.append(row)
    file = io.BytesIO()
    workbook.save(file)
    return file


def expected(cell: object) -> object:
    if isinstance(cell, datetime):
        return cell.isoformat()
    return int(cell) if isinstance(cell, float) and cell.is_integer() else cell


@given(st.lists(st.lists(CELLS, min_size=1, max_size=5), min_size=1, max_size=5))
def test_sheet_rows_returns_what_was_written(rows: list[list[Any]]) -> None:
    assert list(sheet_rows(written(rows), "a.xlsx")) == [list(map(expected, row)) for row in rows]


def test_sheet_rows_reads_dates_and_times_in_any_format() -> None:
    rows = [[date(2024, 2, 29), time(13, 30), datetime(2024, 2, 29, 13, 30, 5)]]
    for epoch in (openpyxl.utils.datetime.WINDOWS_EPOCH, openpyxl.utils.datetime.MAC_EPOCH):
        read = list(sheet_rows(written(rows, epoch=epoch), "a.xlsx"))
        assert read == [["2024-02-29T00:00:00", "13:30:00", "2024-02-29T13:30:05"]]


def test_sheet_rows_places_cells_by_column() -> None:
    rows = list(sheet_rows(written([["a", None, "c"], [], [None, "b"]]), "a.xlsx"))
    assert rows == [["a", "", "c"], ["", "b"]]


def test_sheet_rows_reads_numbers_with_formats_as_numbers() -> None:
    workbook = openpyxl.Workbook()
    for column, code in enumerate(['0.0" days"', "[Red]0", "#,##0.00", "yyyy-mm-dd", "[h]:mm"], 1):
        cell = workbook.active.cell(1, column, 1.5)
        cell.number_format = code
    file = io.BytesIO()
    workbook.save(file)
    [row] = sheet_rows(file, "a.xlsx")
    assert row == [1.5, 1.5, 1.5, "1899-12-31T12:00:00", "1899-12-31T12:00:00"]


def test_sheet_rows_selects_a_sheet() -> None:
    workbook = openpyxl.Workbook()
    workbook.create_sheet("second").append(["b"])
    workbook.active.append(["a"])
    file = io.BytesIO()
    workbook.save(file)
    assert list(sheet_rows(file, "a.xlsx")) == [["a"]]
    assert list(sheet_rows(file, "a.xlsx", "second")) == [["b"]]
    with pytest.raises(DatasetError) as error:
        list(sheet_rows(file, "a.xlsx", "third"))
    assert error.value.code == "no-such-sheet"
    assert "'Sheet', 'second'" in str(error.value)


@given(st.binary(max_size=300), st.integers(0, 6000))
def test_damaged_file_is_an_error(garbage: bytes, place: int) -> None:
    content = bytearray(written([["a", 1.5], ["b", 2]]).getvalue())
    content[place : place + len(garbage)] = garbage
    with suppress(DatasetError):
        list(sheet_rows(io.BytesIO(content), "a.xlsx"))
