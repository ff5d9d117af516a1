import csv
import gzip
import io
import json
import os
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reelsense.errors import DatasetError
from tests import tiny
from tests.scoring import score_file

CLASSIFIER = tiny.classifier()


def score(
    folder: Path, name: str, content: str | bytes, out: str, column: str | None = None
) -> str:
    source, output = folder / name, folder / out
    source.write_bytes(content.encode() if isinstance(content, str) else content)
    score_file(CLASSIFIER, source, output, column)
    return output.read_text(encoding="utf-8", errors="surrogateescape")


def test_txt_becomes_csv(tmp_path: Path) -> None:
    written = score(tmp_path, "in.txt", "good film\n\nbad, bad film\r\n", "out.csv")
    rows = list(csv.DictReader(io.StringIO(written)))
    assert [row["text"] for row in rows] == ["good film", "", "bad, bad film"]
    assert [row["label"] for row in rows] == ["positive", "", "negative"]
    assert [row["error"] for row in rows] == ["", "'text' is blank", ""]
    assert float(rows[0]["positive"]) == float(rows[0]["score"]) > 0.5
    assert float(rows[2]["positive"]) == pytest.approx(1 - float(rows[2]["score"]))


def test_csv_keeps_columns_in_order(tmp_path: Path) -> None:
    content = 'id,review,note\n7,"the film, good",x\n3,awful,"two\nlines"\n'
    written = score(tmp_path, "in.csv", content, "out.csv", column="review")
    rows = list(csv.reader(io.StringIO(written)))
    assert rows[0] == ["id", "review", "note", "label", "score", "positive", "verdict", "error"]
    assert [row[:4] for row in rows[1:]] == [
        ["7", "the film, good", "x", "positive"],
        ["3", "awful", "two\nlines", "negative"],
    ]


@pytest.mark.parametrize("separator", [";", "\t"])
def test_csv_with_other_separators_is_read(tmp_path: Path, separator: str) -> None:
    table = ["id;review", '1;"good; good, film"', "2;bad, bad film", "3;0,5;x"]
    written = score(
        tmp_path, "in.csv", "\n".join(table).replace(";", separator), "out.csv", "review"
    )
    rows = list(csv.DictReader(io.StringIO(written)))
    assert [row["review"] for row in rows[:2]] == [f"good{separator} good, film", "bad, bad film"]
    assert [row["label"] for row in rows] == ["positive", "negative", ""]
    assert rows[2]["error"] == "3 fields where the header has 2"


def test_added_column_gets_a_prefix_if_its_name_is_taken(tmp_path: Path) -> None:
    written = score(tmp_path, "in.csv", "text,label\ngood,bad\n", "out.tsv")
    row = next(csv.DictReader(io.StringIO(written), delimiter="\t"))
    assert (row["label"], row["predicted_label"]) == ("bad", "positive")
    written = score(tmp_path, "in.jsonl", '{"text": "good", "score": 3}\n', "out.jsonl")
    row = json.loads(written)
    assert row["score"] == 3
    assert row["predicted_score"] > 0.5


def test_bad_rows_have_errors_and_others_are_scored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [
        b'{"text": "good film", "id": 1}',
        b'{"text": "good film"',
        b'{"txt": "good film"}',
        b'{"text": 7}',
        b'{"text": "  "}',
        b'{"text": "\\u0000"}',
        b'{"text": "f\xfcr"}',
        b'{"text": "bad \\ud800 film"}',
        b'{"text": "bad film", "id": 9}',
    ]
    written = score(tmp_path, "in.jsonl", b"\n".join(lines), "out.jsonl")
    rows = [json.loads(line) for line in written.splitlines()]
    errors = [row.get("error", "") for row in rows]
    assert [bool(error) for error in errors] == [False, *[True] * 6, False, False]
    assert "line 2 is not JSON" in errors[1]
    assert "no column 'text'; there are: 'txt'" in errors[2]
    assert "not a text but 7" in errors[3]
    assert "blank" in errors[4]
    assert "contains no readable characters" in errors[5]
    assert "not UTF-8" in errors[6]
    assert rows[0]["label"] == "positive"
    assert rows[8]["label"] == rows[7]["label"] == "negative"
    assert rows[7]["text"] == "bad \ud800 film"
    assert "6 rows could not be scored" in capsys.readouterr().err


@pytest.mark.parametrize("out", ["out.csv", "out/"])
def test_rows_in_another_encoding_are_bad_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], out: str
) -> None:
    source = tmp_path / "in.csv"
    source.write_bytes("text,n\ngood caf\u00e9,1\nbad caf\u00e9,2\n,3\n".encode("cp1252"))
    for _ in range(2):
        assert not score_file(CLASSIFIER, source, f"{tmp_path}/{out}")
        errors = capsys.readouterr().err
        assert "no row could be scored: see the column error" in errors
        assert "2 rows are not UTF-8: pass the encoding" in errors
    assert score_file(CLASSIFIER, source, tmp_path / "decoded.csv", encoding="windows-1252")
    assert "good caf\u00e9,1,positive" in (tmp_path / "decoded.csv").read_text()
    assert "1 row could not be scored" in capsys.readouterr().err
    assert not score_file(CLASSIFIER, source, None)
    assert "2 rows are not UTF-8" in capsys.readouterr().err


def test_compressed_file_in_another_encoding_is_read(tmp_path: Path) -> None:
    content = gzip.compress("text\ngood caf\u00e9\n".encode("utf-16"))
    (tmp_path / "in.csv.gz").write_bytes(content)
    score_file(CLASSIFIER, tmp_path / "in.csv.gz", tmp_path / "out.csv", encoding="utf-16")
    assert "good caf\u00e9,positive" in (tmp_path / "out.csv").read_text()


def test_csv_row_of_another_length_is_a_bad_row(tmp_path: Path) -> None:
    written = score(tmp_path, "in.csv", "text,n\ngood,1\nbad\nawful,2,3\nbad,4\n", "out.csv")
    rows = list(csv.DictReader(io.StringIO(written)))
    assert [row["label"] for row in rows] == ["positive", "", "", "negative"]
    assert rows[1]["error"] == "1 fields where the header has 2"


def test_bad_first_row_does_not_hide_the_text_column(tmp_path: Path) -> None:
    written = score(tmp_path, "in.csv", "id,text\n1\n2,good\n", "out.csv")
    assert [row["label"] for row in csv.DictReader(io.StringIO(written))] == ["", "positive"]


def test_missing_text_column_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"one of 'id', 'film'") as error:
        score(tmp_path, "in.csv", "id,film\n1,good\n", "out.csv")
    assert error.value.code == "no-such-column"
    with pytest.raises(DatasetError) as error:
        score(tmp_path, "in.tsv", "id\tfilm\n", "out.csv")
    assert error.value.code == "no-such-column"


@pytest.mark.parametrize(
    ("name", "content"),
    [("in.csv", "review\ngood\n"), ("in.jsonl", '{"review": "good"}\n'), ("in.tsv", "review\n")],
)
def test_only_column_is_the_default(tmp_path: Path, name: str, content: str) -> None:
    assert score(tmp_path, name, content, "out.csv").startswith("review,label,score")
    pipe, output = tmp_path / f"pipe-{name}", tmp_path / "piped"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as pool:
        scored = pool.submit(score_file, CLASSIFIER, pipe, output.with_suffix(pipe.suffix))
        pipe.write_text(content)
        assert scored.result(10)
    with pytest.raises(DatasetError) as error:
        score(tmp_path, name, content, "other.csv", column="text")
    assert error.value.code == "no-such-column"


def test_failed_run_leaves_no_output(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"in\.csv: ") as error:
        score(tmp_path, "in.csv", "text,text\ngood,bad\n", "out.csv")
    assert error.value.code == "ambiguous-column"
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


@pytest.mark.parametrize("name", ["in.pdf", "in.xls"])
def test_unknown_format_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(DatasetError, match=name) as error:
        score_file(CLASSIFIER, tmp_path / name, tmp_path / "out.csv", "text")
    assert error.value.code == "unknown-format"
    assert ("in Excel: Save As" in str(error.value)) == (name == "in.xls")


def test_empty_file_gives_empty_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("in.csv", "in.csv.gz", "in.jsonl"):
        content = gzip.compress(b"") if name.endswith(".gz") else b""
        assert score(tmp_path, name, content, "out.csv") == ""
        assert f"{tmp_path}/{name}: no rows" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["in.csv", "in.tsv", "in.csv.gz", "in.txt"])
def test_header_without_rows_gives_header(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    header = "" if name == "in.txt" else "text\n"
    content = gzip.compress(header.encode()) if name.endswith(".gz") else header
    expected = "text,label,score,positive,verdict,error\n"
    assert score(tmp_path, name, content, "out.csv") == expected
    assert score_file(CLASSIFIER, tmp_path / name, None, output_format="csv")
    printed = capsys.readouterr()
    assert printed.out == expected.replace("\n", "\r\n")
    assert printed.err.count(f"{tmp_path}/{name}: no rows") == 2
    assert "could" not in printed.err


def test_header_without_rows_becomes_parquet(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    (tmp_path / "in.csv").write_text("text\n")
    for source in ("in.csv", "out.parquet"):
        score_file(CLASSIFIER, tmp_path / source, tmp_path / f"{source}.parquet")
        names = parquet.read_schema(tmp_path / f"{source}.parquet").names
        assert names[:2] == ["text", "label"]
        (tmp_path / f"{source}.parquet").rename(tmp_path / "out.parquet")


def test_empty_files_of_a_folder_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name, content in {"a": "", "b": "n;text\n", "c": "n,text\n1,good\n"}.items():
        (tmp_path / "in" / f"{name}.csv").write_text(content)
    score_file(CLASSIFIER, tmp_path / "in", tmp_path / "out.csv")
    [row] = csv.DictReader((tmp_path / "out.csv").read_text().splitlines())
    assert row["label"] == "positive"


def test_model_with_other_labels_adds_no_column_positive(tmp_path: Path) -> None:
    other = tiny.classifier(labels=("no", "yes"))
    (tmp_path / "in.txt").write_text("good film\n")
    score_file(other, tmp_path / "in.txt", tmp_path / "out.csv", "text")
    assert (tmp_path / "out.csv").read_text().startswith("text,label,score,verdict,error\n")


TEXTS = st.lists(
    st.text(st.characters(exclude_categories=["Cs", "Cc"])).map(lambda text: text + " good")
)


@given(TEXTS)
@example(['\\" good'])
def test_output_preserves_texts(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    folder = tmp_path_factory.mktemp("rows")
    content = "".join(json.dumps({"n": n, "text": text}) + "\n" for n, text in enumerate(texts))
    written = score(folder, "in.jsonl", content, "out.jsonl")
    rows = [json.loads(line) for line in written.split("\n")[:-1]]
    assert [(row["n"], row["text"]) for row in rows] == list(enumerate(texts))
    table = io.StringIO()
    csv.writer(table).writerows([["text"], *([text] for text in texts)])
    written = score(folder, "in.csv", table.getvalue(), "out.csv")
    assert [row["text"] for row in csv.DictReader(io.StringIO(written, newline=""))] == texts


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    def peak(rows: int) -> int:
        (tmp_path / "in.txt").write_text("a good film\n" * rows)
        tracemalloc.start()
        score_file(CLASSIFIER, tmp_path / "in.txt", tmp_path / "out.csv", shard_rows=256)
        _, maximum = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return maximum

    peak(600)  # fills caches
    assert peak(6000) < 1.5 * peak(600)


def test_standard_input_is_one_text_per_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(b"good film\nbad film\n"), encoding="utf-8")
    monkeypatch.setattr("sys.stdin", stdin)
    score_file(CLASSIFIER, Path("-"), None, "text")
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["label"] for row in rows] == ["positive", "negative"]


def test_prefix_is_repeated_until_the_name_is_free(tmp_path: Path) -> None:
    written = score(tmp_path, "in.csv", "text,label,predicted_label\ngood,a,b\n", "out.csv")
    row = next(csv.DictReader(io.StringIO(written)))
    names = ("label", "predicted_label", "predicted_predicted_label")
    assert [row[name] for name in names] == ["a", "b", "positive"]


def test_unreadable_texts_are_bad_rows(tmp_path: Path) -> None:
    texts = ["good", "\x07", "bad", "\x07\x07", "great"]
    content = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    rows = list(map(json.loads, score(tmp_path, "in.jsonl", content, "out.jsonl").splitlines()))
    assert [row.get("label") for row in rows] == ["positive", None, "negative", None, "positive"]


def test_pipe_is_read(tmp_path: Path) -> None:
    pipe, output = tmp_path / "in.txt", tmp_path / "out.csv"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as pool:
        scored = pool.submit(score_file, CLASSIFIER, pipe, output, "text")
        pipe.write_text("good film\n")
        scored.result(10)
    assert "good film,positive" in output.read_text()


def test_model_with_ratings_adds_stars(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("text,stars\ngood film,9\n ,1\nbad film,2\n")
    score_file(tiny.star_classifier(), tmp_path / "in.csv", tmp_path / "out.csv", "text")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out.csv").read_text())))
    names = ["text", "stars", "label", "score", "positive", "verdict", "predicted_stars", "error"]
    assert list(rows[0]) == names
    assert [row["stars"] for row in rows] == ["9", "1", "2"]
    assert [row["predicted_stars"][:4] for row in rows] == ["7.96", "", "2.78"]


def test_explain_adds_because_and_explanation(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text('id,text\n1,"Good film. Bad. Good plot."\n2,\n3,awful\n')
    for name in ("out.csv", "out.jsonl"):
        score_file(CLASSIFIER, tmp_path / "in.csv", tmp_path / name, "text", explain=True)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out.csv").read_text())))
    assert [row["because"] for row in rows] == ["Good film.", "", "awful"]
    assert [row["error"] for row in rows] == ["", "'text' is blank", ""]
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    explained = [json.loads(row["explanation"]) for row in rows if row["explanation"]]
    assert explained == [line["explanation"] for line in lines if "explanation" in line]
    explanation = CLASSIFIER.explain("Good film. Bad. Good plot.")
    assert [part["weight"] for part in explained[0]["sentences"]] == [
        part.weight for part in explanation.sentences
    ]
    assert "because" not in lines[1]
