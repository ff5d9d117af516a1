"""Shapes of files from public bug reports, with invented texts."""

import gzip
import io
import json
import sys
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelsense.errors import DatasetError
from reelsense.tables.reading import FileFormat, ReadOptions, Table, file_format_of, open_table
from reelsense.tables.row import Row
from reelsense.tables.storage import FileInfo


def read(path: Path, options: ReadOptions | None = None) -> tuple[Table, list[Row]]:
    file = FileInfo(path.name, str(path), path.stat().st_size)
    with open_table(file, options or ReadOptions()) as table:
        return table, [row for row, _ in table.rows]


def values(path: Path, options: ReadOptions | None = None) -> list[dict[str, Any]]:
    _, rows = read(path, options)
    assert not [row.error for row in rows if row.error]
    return [row.values for row in rows]


@pytest.mark.parametrize(
    ("name", "content", "dialect", "expected"),
    [
        ("a.csv", "id,text\n1,Fine\n", "columns separated by commas",
         [{"id": "1", "text": "Fine"}]),
        ("a.csv", "id;text\n1;Fine\n", "columns separated by semicolons",
         [{"id": "1", "text": "Fine"}]),
        ("a.csv", 'id,text\n1,"size 5\\""\n2,Bad\n',
         "columns separated by commas, quotes escaped by a backslash",
         [{"id": "1", "text": 'size 5"'}, {"id": "2", "text": "Bad"}]),
        ("a.tsv", 'id\ttext\n1\t" A bore\n2\tGood "\n',
         "columns separated by tabs, no quoted fields",
         [{"id": "1", "text": '" A bore'}, {"id": "2", "text": 'Good "'}]),
        ("a.csv", "v1,v2,,,\nham,Fine,,,\n", "columns separated by commas",
         [{"v1": "ham", "v2": "Fine", "column 3": "", "column 4": "", "column 5": ""}]),
        ("a.csv", "text,id,text\nFine,1,Good\n", "columns separated by commas",
         [{"text": "Fine", "id": "1", "text (2)": "Good"}]),
        ("a.csv", "\ufeff\n\nid,text\n1,Fine\n", "columns separated by commas",
         [{"id": "1", "text": "Fine"}]),
        ("a.csv", "id,text\n1,Fine,,\n", "columns separated by commas",
         [{"id": "1", "text": "Fine"}]),
    ],
)  # fmt: skip
def test_open_table_reads_delimited_files(
    tmp_path: Path, name: str, content: str, dialect: str, expected: list[dict[str, str]]
) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    assert values(path) == expected
    assert read(path)[0].dialect == dialect


def test_open_table_keeps_the_columns_of_rows_with_errors(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    good = "".join(f"{n},Fine,4\n" for n in range(10, 20))
    path.write_text(f'id,text,stars\n1,"a" b,5\n2,Fine,4\n3,Fine\n{good}4,"open,3\n')
    _, rows = read(path, ReadOptions(quoting="doubled"))
    assert [(row.line, row.values["id"]) for row in rows if row.error] == [
        (2, "1"),
        (4, "3"),
        (15, "4"),
    ]
    assert len(rows) == 14


def test_open_table_uses_the_dialect_of_the_user(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('id|text\n1|"Fine"\n')
    options = ReadOptions(delimiter="|", quoting="none")
    assert values(path, options) == [{"id": "1", "text": '"Fine"'}]


def test_open_table_without_a_header_numbers_the_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("Great film.\nBad film.\n")
    assert "--no-header" in (read(path)[0].warning or "")
    table, rows = read(path, ReadOptions(has_header=False))
    assert [row.values for row in rows] == [{"column 1": "Great film."}, {"column 1": "Bad film."}]
    assert table.warning is None


ROWS = [{"text": "Fine [really], {so}", "stars": 4.5}, {"text": 'A "joy"\n', "tags": ["a", {}]}]


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.ndjson", "a.json.gz", "a.ndjson.gz"])
@pytest.mark.parametrize("indent", [None, 2])
def test_open_table_reads_json_by_content(tmp_path: Path, name: str, indent: int | None) -> None:
    for content in (
        json.dumps(ROWS, indent=indent),
        "\n\n" + json.dumps(ROWS, indent=indent) + "\n",
        "\n".join(map(json.dumps, ROWS)),
    ):
        path = tmp_path / name
        path.write_bytes(gzip.compress(content.encode()) if ".gz" in name else content.encode())
        assert values(path) == ROWS


objects = st.dictionaries(
    st.text(max_size=3), st.text(max_size=5) | st.integers() | st.none() | st.booleans(), max_size=3
)


@given(st.lists(objects, max_size=5), st.sampled_from([None, 1]), st.booleans())
def test_open_table_reads_any_array(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[dict[str, object]],
    indent: int | None,
    ascii_only: bool,  # a parameter of the property
) -> None:
    path = tmp_path_factory.mktemp("arrays") / "a.json"
    content = json.dumps(rows, indent=indent, ensure_ascii=ascii_only)
    path.write_text(content, encoding="utf-8", errors="surrogatepass")
    _, read_rows = read(path)
    assert [row.values for row in read_rows if not row.error] == [
        row for row, read_row in zip(rows, read_rows, strict=True) if not read_row.error
    ]


def test_open_table_streams_long_arrays(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    rows = [{"text": "x" * 1000, "n": n} for n in range(300)]
    path.write_text(json.dumps(rows))
    assert values(path) == rows


def test_open_table_marks_elements_of_arrays_that_are_not_objects(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[12, {"text": "Fine"}, "x", [1]]')
    _, rows = read(path)
    assert [(row.values, bool(row.error)) for row in rows] == [
        ({}, True),
        ({"text": "Fine"}, False),
        ({}, True),
        ({}, True),
    ]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ('[{"text": "Fine"}, {"text": ', "damaged-file"),
        ('[{"text": "Fine"} x', "damaged-file"),
        ('{"text": {"0": "Fine", "1": "Bad"}}', "single-object"),
        ('{"0": {"text": "Fine"}, "1": {"text": "Bad"}}', "single-object"),
        ('{"columns": ["text"], "index": [0], "data": [["Fine"]]}', "single-object"),
        ('{\n  "text": "Fine"\n}', "single-object"),
    ],
)
def test_open_table_rejects_other_json(tmp_path: Path, content: str, code: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(DatasetError) as error:
        read(path)
    assert error.value.code == code
    if code == "single-object":
        assert 'orient="records"' in str(error.value)


def excel_file(path: Path, **sheets: list[list[object]]) -> Path:
    workbook = openpyxl.Workbook()
    workbook.remove(workbook.active)
    for name, rows in sheets.items():
        sheet = workbook.create_sheet(name)
        for row in rows:
            sheet.append(row)
    workbook.save(path)
    return path


def test_open_table_reads_excel_files(tmp_path: Path) -> None:
    path = excel_file(
        tmp_path / "a.xlsx",
        reviews=[[], ["id", "text", "stars", None], [1, "Fine", 4.5, None], [2, "Bad", None, None]],
        other=[["text"], ["Good"]],
    )
    assert values(path) == [
        {"id": 1, "text": "Fine", "stars": 4.5},
        {"id": 2, "text": "Bad", "stars": ""},
    ]
    assert values(path, ReadOptions(sheet="other")) == [{"text": "Good"}]
    assert values(path, ReadOptions(sheet="other", has_header=False)) == [
        {"column 1": "text"},
        {"column 1": "Good"},
    ]
    with pytest.raises(DatasetError) as error:
        read(path, ReadOptions(sheet="missing"))
    assert error.value.code == "no-such-sheet"


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"text\nFine\n"])
def test_open_table_rejects_damaged_excel_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.xlsx"
    path.write_bytes(content)
    with pytest.raises(DatasetError) as error:
        read(path)
    assert error.value.code == "damaged-file"


def test_open_table_reads_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["Fine"], "n": [1]}), path)
    table, rows = read(path)
    assert table.columns
    assert table.columns.names == ("text", "n")
    assert [row.values for row in rows] == [{"text": "Fine", "n": 1}]


def test_open_table_reads_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    for suffix, content in ((".csv", b"text\nFine\n"), (".json", b'[{"text": "Fine"}]')):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        with open_table(FileInfo("-", "-", None), ReadOptions(FileFormat(suffix))) as table:
            assert [row.values for row, _ in table.rows] == [{"text": "Fine"}]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.csv", ".csv"),
        ("A.TSV.GZ", ".tsv.gz"),
        ("a.ndjson", ".jsonl"),
        ("a.json.gz", ".json.gz"),
        ("a.xlsx", ".xlsx"),
    ],
)
def test_file_format_of(name: str, expected: str) -> None:
    assert str(file_format_of(name)) == expected


@pytest.mark.parametrize("name", ["a.doc", "a", "a.parquet.gz", "a.xls"])
def test_file_format_of_rejects_other_names(name: str) -> None:
    with pytest.raises(DatasetError) as error:
        file_format_of(name)
    assert error.value.code == "unknown-format"
