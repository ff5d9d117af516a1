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
def test_read_table_supports_every_format(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    reviews = read_table(tmp_path / name)
    assert [(review.text, review.label) for review in reviews] == [
        ("fine, really", "pos"),
        ("two\nlines", "neg"),
    ]


def test_read_table_uses_column_names_and_skips_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("\ufeffreview,stars\nfine,5\nunknown,\n", encoding="utf-8")
    reviews = read_table(path, "review", "stars")
    assert [(review.text, review.label) for review in reviews] == [("fine", "5"), ("unknown", None)]


@pytest.mark.parametrize(
    ("name", "content", "place"),
    [
        ("a.csv", b"text\nfine\n", "line 2"),
        ("a.csv", b"text,label\nfine\n", "line 2"),
        ("a.csv", b'text,label\n"unterminated,x\n', "line 2: unterminated quoted field"),
        ("a.csv", b'text,label\ngood,x\n"unterminated,x\nbad,y\n', "line 3"),
        ("a.csv", b'text,"label\nfine,pos\n', "line 1"),
        ("a.csv", b"text,label\n ,pos\n", "line 2"),
        ("a.csv", b"text,label\nf\xfcr,pos\n", "line 2"),
        ("a.jsonl", b'{"text": "a", "label": "b"}\n[1]\n', "line 2"),
        ("a.jsonl", b"text\n", "line 1"),
        ("a.csv", b'PK\x03\x04\x14\0\x06\0"\xff\nx', "line 1 contains NUL bytes"),
        ("a.xlsx", b"", "in Excel: Save As, CSV UTF-8"),
    ],
)
def test_read_table_names_file_and_line_of_errors(
    tmp_path: Path, name: str, content: bytes, place: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DatasetError) as error:
        read_table(tmp_path / name)
    assert str(tmp_path / name) in str(error.value)
    assert place in str(error.value)


def test_read_table_rejects_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as error:
        read_table(tmp_path / "none.csv")
    assert error.value.code == "unreadable"


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.text()), max_size=5))
def test_rows_of_json_lines_equal_their_values(table: list[dict[str, object]]) -> None:
    lines = [json.dumps(row) + "\n" for row in table]
    assert list(rows(lines, ".jsonl", "x")) == [Row(n, row) for n, row in enumerate(table, 1)]


def test_labelled_data_splits_a_table(tmp_path: Path) -> None:
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


def test_labelled_data_requires_two_labels(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("text,label\nfine,pos\nbest,pos\n")
    with pytest.raises(DatasetError, match=r"\['pos'\]"):
        LabelledData(path).for_training()


def test_labelled_data_returns_unlabelled_texts(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("text,label\nfine,pos\nodd,\nbad,neg\nlong,\n")
    assert LabelledData(path).unlabelled_texts() == ["odd", "long"]


def test_rows_continue_after_a_row_with_a_stray_quote() -> None:
    lines = ["text,n\n", "good,1\n", '"good "film" x",2\n', "bad,3\n"]
    table = list(rows(lines, ".csv", "x.csv"))
    assert [row.values["n"] for row in table] == ["1", "", "3"]
    assert [bool(row.error) for row in table] == [False, True, False]


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
def test_rows_detect_separator_in_the_header(header: str, columns: list[str]) -> None:
    [row, *_] = rows([f"{header}\n", "1;2,3\t4\n"], ".csv", "x.csv")
    assert list(row.values) == columns


def test_rows_of_tsv_are_separated_by_tabs_only() -> None:
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
def test_read_table_rejects_other_json_types(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(line)
    with pytest.raises(DatasetError, match=message):
        read_table(path)


def test_read_table_accepts_null_and_number_as_label(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "x\\ud800", "label": null}\n{"text": "y\\udc80", "label": 1}\n')
    reviews = read_table(path)
    assert [review.label for review in reviews] == [None, "1"]
    assert len(split_validation(reviews, 0.5).validation) == 1


@pytest.mark.parametrize("header", [b"text,text", b"text,caf\xe9"])
def test_rows_reject_repeated_and_undecoded_column_names(header: bytes) -> None:
    with pytest.raises(DatasetError, match=r"a\.csv, line 1: ") as error:
        list(rows(text_lines(io.BytesIO(header + b"\na,b\n")), ".csv", "a.csv"))
    assert error.value.code == "malformed-table"


@pytest.mark.parametrize(
    ("encoding", "text"), [("utf-16", "caf\u00e9"), ("utf-16-be", "\ufeffcaf\u00e9")]
)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_rows_suggest_encoding_for_utf_16(encoding: str, text: str, suffix: str) -> None:
    raw = io.BytesIO(f"{text}\ngood\n".encode(encoding))
    with pytest.raises(DatasetError, match=r"--encoding .* utf-16") as error:
        list(rows(text_lines(raw), suffix, "x"))
    assert error.value.code == "malformed-table"


@pytest.mark.parametrize(
    "encoding", ["windows-1252", "latin-1", "ISO-8859-15", "utf-16", "UTF8", None]
)
def test_text_lines_decode_given_encoding(encoding: str | None) -> None:
    raw = io.BytesIO("caf\u00e9\n\u00e9t\u00e9\n".encode(encoding or "utf-8"))
    table = list(rows(text_lines(raw, encoding), ".csv", "x", encoding))
    assert [row.values for row in table] == [{"caf\u00e9": "\u00e9t\u00e9"}]


def test_rows_report_bytes_outside_the_encoding() -> None:
    raw = io.BytesIO(b"text\ngood\x81\nbad\n")
    table = list(rows(text_lines(raw, "cp1252"), ".csv", "x", "cp1252"))
    assert [row.error for row in table] == ["not cp1252 text", None]
    raw = io.BytesIO("text\ngood\n".encode("utf-16") + b"\n")
    with pytest.raises(DatasetError) as error:
        list(rows(text_lines(raw, "utf-16"), ".csv", "x", "utf-16"))
    assert error.value.code == "wrong-encoding"


@pytest.mark.parametrize(
    "encoding", ["klingon", "base64", "rot13", "a\0", "\ud800", "../utf_8", " "]
)
def test_text_lines_reject_unknown_encoding(encoding: str) -> None:
    with pytest.raises(DatasetError) as error:
        text_lines(io.BytesIO(), encoding)
    assert error.value.code == "unknown-encoding"
