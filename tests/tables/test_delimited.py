import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelsense.datasets.labelled import LabelledData, read_table
from reelsense.datasets.reviews import split_validation
from reelsense.errors import DatasetError
from reelsense.tables.delimited import SUFFIXES, Row, rows, text_lines


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", 'id,text,label\n1,"fine, really",pos\n2,"two\nlines",neg\n'),
        ("a.tsv", 'id\ttext\tlabel\n1\tfine, really\tpos\n2\t"two\nlines"\tneg\n'),
        (
            "a.jsonl",
            '{"id": 1, "text": "fine, really", "label": "pos"}\n\n'
            '{"id": 2, "text": "two\\nlines", "label": "neg"}\n',
        ),
    ],
)
def test_the_same_table_in_three_forms(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    reviews = read_table(tmp_path / name)
    assert [(r.text, r.label) for r in reviews] == [("fine, really", "pos"), ("two\nlines", "neg")]


def test_other_columns_and_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("\ufeffreview,stars\nfine,5\nunknown,\n", encoding="utf-8")
    assert [(r.text, r.label) for r in read_table(path, "review", "stars")] == [
        ("fine", "5"),
        ("unknown", None),
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"text\nfine\n", "line 2: no column 'label' among text"),
        ("a.csv", b"text,label\nfine\n", "line 2: 1 fields where the first line has 2"),
        ("a.csv", b'text,label\n"never closed,x\n', "line 2: a quote is never closed"),
        ("a.csv", b'text,label\ngood,x\n"never closed,x\nbad,y\n', "line 3: a quote is never"),
        ("a.csv", b'text,"label\nfine,pos\n', "line 1: a quote is never closed"),
        ("a.csv", b"text,label\n ,pos\n", "line 2: 'text' is blank"),
        ("a.csv", b"text,label\nf\xfcr,pos\n", "line 2: not UTF-8 text"),
        ("a.jsonl", b'{"text": "a", "label": "b"}\n[1]\n', "line 2 is not a JSON object"),
        ("a.jsonl", b"text\n", "line 1 is not JSON"),
        (
            "a.csv",
            b'PK\x03\x04\x14\0\x06\0"\xff\nx',
            "line 1 contains zero bytes: this is not text",
        ),
        ("a.xlsx", b"", "expected .csv, .tsv, .jsonl, .txt; in Excel: Save As, CSV UTF-8"),
    ],
)
def test_faults_name_file_and_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DatasetError) as caught:
        read_table(tmp_path / name)
    assert message in str(caught.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"none\.csv: No such file"):
        read_table(tmp_path / "none.csv")


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.text()), max_size=5))
def test_json_lines_come_back(table: list[dict[str, object]]) -> None:
    lines = [json.dumps(row) + "\n" for row in table]
    assert list(rows(lines, ".jsonl", "x")) == [Row(n, row) for n, row in enumerate(table, 1)]


def test_a_table_as_a_source(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("text,label\n" + "".join(f"text {n % 50},{n % 2}\n" for n in range(100)))
    source = LabelledData(path)
    split, labels = source.for_training()
    assert labels == ["0", "1"]
    assert source.default_part == "all"
    assert len(source.part("all")) == 100
    assert source.part("train") == split.train
    assert source.part("validation") == split.validation
    assert not {r.text for r in split.train} & {r.text for r in split.validation}
    with pytest.raises(DatasetError, match="has no test part"):
        source.part("test")


def test_one_label_is_not_enough(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("text,label\nfine,pos\nbest,pos\n")
    with pytest.raises(DatasetError, match=r"\['pos'\]"):
        LabelledData(path).for_training()


def test_a_csv_row_with_a_stray_quote_is_an_error_of_that_row() -> None:
    lines = ["text,n\n", "good,1\n", '"good "film" x",2\n', "bad,3\n"]
    found = list(rows(lines, ".csv", "x.csv"))
    assert [row.values["n"] for row in found] == ["1", "", "3"]
    assert [bool(row.error) for row in found] == [False, True, False]


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        ("id;text", ["id", "text"]),
        ("id\ttext", ["id", "text"]),
        ("id,text;x", ["id", "text;x"]),
        ('"a;b",text', ["a;b", "text"]),
        ('"a,b";text', ["a,b", "text"]),
        ('"say ""a,b""";text', ['say "a,b"', "text"]),
        ('"a;b"', ["a;b"]),
        ("a;b\tc", ["a", "b\tc"]),
    ],
)
def test_the_header_alone_says_what_parts_the_columns(header: str, columns: list[str]) -> None:
    [row, *_] = rows([f"{header}\n", "1;2,3\t4\n"], ".csv", "x.csv")
    assert list(row.values) == columns


def test_a_tsv_is_parted_by_tabs_alone() -> None:
    [row] = rows(["text;a,b\n", "good\n"], ".tsv", "x.tsv")
    assert row.values == {"text;a,b": "good"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": null, "label": "a"}', "'text' is null"),
        ('{"text": ["x"], "label": "a"}', r"'text' is \["),
        ('{"text": "x", "label": 0.5}', "'label' is 0.5"),
        ('{"text": "x", "label": {"a": 1}}', "'label' is {"),
    ],
)
def test_json_that_is_no_text_or_label(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(line)
    with pytest.raises(DatasetError, match=message):
        read_table(path)


def test_json_labels_that_are_none_or_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "x\\ud800", "label": null}\n{"text": "y\\udc80", "label": 1}\n')
    reviews = read_table(path)
    assert [review.label for review in reviews] == [None, "1"]
    assert len(split_validation(reviews, 0.5).validation) == 1


def test_two_columns_of_one_name(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,text\na,b\n")
    with pytest.raises(DatasetError, match=r"a\.csv, line 1: two columns have the same name"):
        read_table(path)


def test_column_names_that_are_no_utf8(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"text,caf\xe9\na,b\n")
    with pytest.raises(
        DatasetError, match=r"a\.csv, line 1: the column names are not .*--encoding"
    ):
        read_table(path)


@pytest.mark.parametrize(
    ("name", "kept"), [("utf-16", "caf\u00e9"), ("utf-16-be", "\ufeffcaf\u00e9")]
)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_utf_16_is_named(name: str, kept: str, suffix: str) -> None:
    raw = io.BytesIO(f"{kept}\ngood\n".encode(name))
    with pytest.raises(DatasetError, match=r"x, line 1: this is UTF-16, not UTF-8: .* utf-16"):
        list(rows(text_lines(raw), suffix, "x"))


@pytest.mark.parametrize("name", ["windows-1252", "latin-1", "ISO-8859-15", "utf-16", "UTF8", None])
def test_encodings_that_are_named(name: str | None) -> None:
    raw = io.BytesIO("caf\u00e9\n\u00e9t\u00e9\n".encode(name or "utf-8"))
    found = list(rows(text_lines(raw, name), ".csv", "x", name))
    assert [row.values for row in found] == [{"caf\u00e9": "\u00e9t\u00e9"}]


def test_bytes_that_the_encoding_does_not_know() -> None:
    raw = io.BytesIO(b"text\ngood\x81\nbad\n")
    found = list(rows(text_lines(raw, "cp1252"), ".csv", "x", "cp1252"))
    assert [row.error for row in found] == ["not cp1252 text", None]
    raw = io.BytesIO("text\ngood\n".encode("utf-16") + b"\n")
    with pytest.raises(DatasetError, match="x is not text in utf-16"):
        list(rows(text_lines(raw, "utf-16"), ".csv", "x", "utf-16"))


@pytest.mark.parametrize("name", ["klingon", "base64", "rot13", "a\0", "\ud800", "../utf_8", " "])
def test_encodings_that_are_not_known(name: str) -> None:
    with pytest.raises(DatasetError, match="unknown encoding"):
        text_lines(io.BytesIO(), name)


def test_the_unlabelled_rows_of_a_table(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("text,label\nfine,pos\nodd,\nbad,neg\nlong,\n")
    assert LabelledData(path).unlabelled_texts() == ["odd", "long"]
