"""Attacks with tables: small files that would take much time or memory to read."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from encodings import aliases
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reelsense.bulk.plan import plan
from reelsense.bulk.shards import cut_shards
from reelsense.errors import DatasetError, DeadlineError, ReelsenseError
from reelsense.server.api.uploads import open_upload, preview_upload, resolve_column
from reelsense.tables import excel, storage
from reelsense.tables.reading import ReadOptions
from reelsense.tables.row import Columns
from reelsense.tables.text import codec
from tests import tiny

pytestmark = [pytest.mark.security, pytest.mark.slow]

SIZE = 2 * 1024 * 1024
CPU_SECONDS = 30  # the attack of the review took 24 minutes; the slowest table here takes 3 s


def repeated(text: str) -> bytes:
    return (text * (SIZE // len(text) + 1))[:SIZE].encode()


def wide(names: list[str]) -> bytes:
    line = ",".join("x" for _ in names) + "\n"
    return (",".join(names) + "\n" + line * (SIZE // len(line))).encode()


TABLES = {
    "commas": repeated(","),
    "columns": wide([f"c{n}" for n in range(16_000)]),
    "same-columns": wide(["c"] * 16_000),
    "blank-columns": wide([""] * 16_000),
    "numbered-columns": wide([*(f"c ({n})" for n in range(8_000)), *["c"] * 8_000]),
    "blank-lines": repeated("\n"),
    "short-lines": repeated("a\n"),
    "quotes": repeated('"'),
    "quote-lines": repeated('"\n'),
    "open-quotes": b"text,id\n" + repeated('a,"b\n'),
    "open-first-quotes": b"text,id\n" + repeated('"a,1\n'),
    "closed-quotes": b"text,id\n" + repeated('"a"x,1\n'),
    "escaped-quotes": b"text,id\n" + repeated('"a\\"\n'),
    "backslashes": repeated("\\"),
    "delimiters": repeated('a;b,c\td|e"\n'),
    "not-utf-8": b"text\n" + b"\xff\n" * (SIZE // 2),
    "separators": repeated("sep=,\n"),
}
JSON_TABLES = {
    "objects": repeated("{}\n"),
    "array": b"[" + repeated("{},"),
    "brackets": repeated("["),
    "nested": repeated('[{"a":'),
    "keys": b"{" + repeated('"a":1,'),
    "long-number": b'[{"a":' + repeated("1"),
    "long-text": b'[{"a":"' + repeated("a"),
    "escapes": b'[{"a":"' + repeated("\\u0041"),
    "lists": b'{"text": "good", "a": [' + repeated("[],") + b"[]]}\n",
    "lists-in-array": b'[{"text": "good", "a": [' + repeated("[],") + b"[]]}]",
}


def read(name: str, content: bytes, check: Callable[[], None] = lambda: None) -> None:
    """Preview a table, then read all its rows."""
    with suppress(ReelsenseError):
        preview_upload(open_upload(name, "", io.BytesIO(content), ReadOptions()), cut=True)
    upload = open_upload(name, "", io.BytesIO(content), ReadOptions(), check=check)
    _, rows = resolve_column(upload, None)
    for _ in rows:
        pass


@contextmanager
def memory_limit(limit: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < limit


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
@pytest.mark.parametrize("name", TABLES)
def test_table_is_read_in_linear_time(name: str, suffix: str) -> None:
    start = time.process_time()
    with suppress(ReelsenseError):
        read(f"a{suffix}", TABLES[name])
    assert time.process_time() - start < CPU_SECONDS


@pytest.mark.parametrize("name", JSON_TABLES)
def test_json_is_read_in_linear_time_and_memory(name: str) -> None:
    start = time.process_time()
    with memory_limit(20 * SIZE), suppress(ReelsenseError):
        read("a.json", JSON_TABLES[name])
    assert time.process_time() - start < CPU_SECONDS


def test_repeated_column_names_take_linear_time() -> None:
    start = time.process_time()
    assert len(set(Columns(("c",) * 16_000).names)) == 16_000
    assert time.process_time() - start < 5


@pytest.mark.parametrize("content", [TABLES["short-lines"], TABLES["blank-lines"]])
def test_reading_stops_when_the_client_is_gone(content: bytes) -> None:
    calls = itertools.count(1)

    def check() -> None:
        if next(calls) == 4:
            raise DeadlineError("too late")

    with pytest.raises(DeadlineError):
        read("a.csv", content, check)
    assert next(calls) == 5


@pytest.mark.parametrize("encoding", ["utf-7", "punycode", "idna", "unicode_escape", "hz", "zlib"])
def test_encodings_with_slow_decoders_are_rejected(encoding: str) -> None:
    with pytest.raises(DatasetError) as error:
        codec(encoding)
    assert error.value.code == "unknown-encoding"


def test_accepted_encodings_are_decoded_in_linear_time() -> None:
    accepted = set()
    for name in sorted(set(aliases.aliases.values())):
        with suppress(DatasetError):
            accepted.add(codec(name))
    assert {"utf-8-sig", "utf_16", "cp1252", "latin_1", "gb18030", "shift_jis"} <= accepted
    start = time.process_time()
    for encoding in accepted:
        for content in (b"+", b"~{", b"\x1b$B", b"\xff\xfe"):
            stream = io.BytesIO(content * (200_000 // len(content)))
            with (
                suppress(UnicodeError),
                io.TextIOWrapper(stream, encoding, errors="surrogateescape") as text,
            ):
                while text.read(1000):
                    pass
    assert time.process_time() - start < CPU_SECONDS


def cut(path: Path) -> int:
    """Return the number of rows of a file, read as `reelsense predict` does."""
    task, _ = plan(storage.find_files(str(path)), tiny.classifier().manifest)
    return sum(len(shard.rows) for shard in cut_shards(task, 0, {}))


def test_gzip_of_long_rows_takes_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    with gzip.open(path, "wb") as file:
        file.write(b"text\n")
        for _ in range(60):
            file.write(b"a" * 5_000_000 + b"\n")
    assert path.stat().st_size < 400_000
    with memory_limit(100_000_000):
        assert cut(path) == 60


def test_gzip_of_many_values_takes_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    row = json.dumps({"text": "good", "a": [[] for _ in range(50_000)]}) + "\n"
    with gzip.open(path, "wt") as file:
        file.writelines([row] * 100)
    with memory_limit(150_000_000):
        assert cut(path) == 100


REPEATED: dict[str, list[object]] = {
    "texts": ["a" * 1_600_000] * 1000,
    "lists": [["a" * 1_600_000]] * 1000,
    "structs": [{"b": {"c": "a" * 1_600_000}}] * 1000,
    "long-lists": [["a" * 1_600_000] * 20] * 50,
}


@pytest.mark.parametrize("name", REPEATED)
def test_parquet_of_repeated_values_takes_little_memory(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.parquet"
    values = REPEATED[name]
    table = pa.table({"text": ["good"] * len(values), "other": values})
    pq.write_table(table, path, compression="zstd")
    del table
    assert path.stat().st_size < 10_000
    before = pa.default_memory_pool().max_memory()
    with memory_limit(200_000_000):
        assert cut(path) == len(values)
    assert pa.default_memory_pool().max_memory() - before < 200_000_000


def test_parquet_row_that_expands_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["good"], "other": [["a" * 1_600_000] * 1000]}), path)
    with pytest.raises(DatasetError) as error, memory_limit(100_000_000):
        cut(path)
    assert error.value.code == "row-too-large"


SPREADSHEET = {
    "_rels/.rels": """<Relationships
        xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="a"
        Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"
        Target="xl/workbook.xml"/></Relationships>""",
    "xl/workbook.xml": """<workbook
        xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"
        xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships">
        <sheets><sheet name="S" sheetId="1" r:id="a"/></sheets></workbook>""",
    "xl/_rels/workbook.xml.rels": """<Relationships
        xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="a"
        Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet"
        Target="sheet.xml"/><Relationship Id="b"
        Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/sharedStrings"
        Target="strings.xml"/><Relationship Id="c"
        Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/styles"
        Target="styles.xml"/></Relationships>""",
}
MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'


def spreadsheet(
    rows: str, texts: Sequence[str] = ("text",), styles: str = "", shared: bytes | None = None
) -> bytes:
    """Return an .xlsx with these rows, whose cells can refer to shared texts."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in SPREADSHEET.items():
            archive.writestr(name, content)
        sheet = f"<worksheet {MAIN}><sheetData>{rows}</sheetData></worksheet>"
        archive.writestr("xl/sheet.xml", sheet)
        items = "".join(f"<si><t>{text}</t></si>" for text in texts)
        archive.writestr("xl/strings.xml", shared or f"<sst {MAIN}>{items}</sst>")
        formats = f"<styleSheet {MAIN}><cellXfs>{styles}</cellXfs></styleSheet>"
        archive.writestr("xl/styles.xml", formats)
    return file.getvalue()


def cell(place: str) -> str:
    return f'<c r="{place}" t="s"><v>0</v></c>'


SPREADSHEETS = {
    "opposite-corners": spreadsheet(
        f'<row r="1">{cell("A1")}</row><row r="1048576">{cell("XFD1048576")}</row>'
    ),
    "gap": spreadsheet(f'<row r="1">{cell("A1")}</row><row r="99999999999">{cell("A9")}</row>'),
    "blank-rows": spreadsheet(f'<row r="1">{cell("A1")}</row>' + "<row/>" * 300_000),
    "wide-rows": spreadsheet(f"<row>{cell('XFD1')}</row>" * 500),
    "cells": spreadsheet("<row>" + "<c/>" * 1_000_000 + "</row>"),
    "columns": spreadsheet("<x/>" * 1_000_000),
    "hidden-rows": spreadsheet("<row>" + "<c/><!--</row>-->" * 300_000 + "</row>"),
    "shared-text": spreadsheet(
        "".join(f'<row r="{n}">{cell(f"A{n}")}</row>' for n in range(1, 5000)), ["a" * 1_000_000]
    ),
    "texts": spreadsheet(f"<row>{cell('A1')}</row>", [""] * 200_000),
    "long-text": spreadsheet(f"<row>{cell('A1')}</row>", ["a" * 100_000_000]),
    "runs": spreadsheet(f"<row>{cell('A1')}</row>", ["<r/>" * 300_000]),
    "styles": spreadsheet(f"<row>{cell('A1')}</row>", styles="<xf/>" * 1_000_000),
}


@pytest.mark.parametrize("name", SPREADSHEETS)
def test_spreadsheet_takes_little_time_and_memory(name: str) -> None:
    start = time.process_time()
    with memory_limit(200_000_000), suppress(ReelsenseError):
        read("a.xlsx", SPREADSHEETS[name])
    assert time.process_time() - start < CPU_SECONDS


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp037"])
def test_spreadsheet_with_entities_is_rejected(encoding: str) -> None:
    """Seven kilobytes of references once needed a gigabyte."""
    text = (
        f'<!DOCTYPE sst [<!ENTITY a "{"a" * 250}">]>'
        f"<sst {MAIN}><si><t>{'&a;' * 200_000}</t></si></sst>"
    )
    declaration = f'<?xml version="1.0" encoding="{encoding}"?>'
    content = declaration.encode() + text.encode("cp037")
    if encoding != "cp037":
        content = (declaration + text).encode(encoding)
    bomb = spreadsheet(f"<row>{cell('A1')}</row>", shared=content)
    with pytest.raises(DatasetError) as error, memory_limit(50_000_000):
        list(excel.sheet_rows(io.BytesIO(bomb), "a.xlsx"))
    assert error.value.code == "damaged-file"


def test_reading_a_spreadsheet_stops_when_the_client_is_gone() -> None:
    calls = itertools.count(1)

    def check() -> None:
        if next(calls) == 20:
            raise DeadlineError("too late")

    with pytest.raises(DeadlineError):
        read("a.xlsx", SPREADSHEETS["blank-rows"], check)
    assert next(calls) == 21


def test_spreadsheet_that_expands_is_rejected() -> None:
    content = spreadsheet(" " * 250_000_000)
    assert len(content) < 300_000
    with pytest.raises(DatasetError) as error, memory_limit(100_000_000):
        read("a.xlsx", content)
    assert error.value.code == "file-too-large"
