import json
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from reelsense.datasets.labelled import LabelledData
from reelsense.datasets.labelled_table import Labels, read_table
from reelsense.datasets.reviews import split_validation
from reelsense.errors import DatasetError
from reelsense.tables.reading import ReadOptions


def read(path: Path, **options: Any) -> list[tuple[str, str | None]]:
    return [(review.text, review.label) for review in read_table(path, **options)]


def table(folder: Path, content: str, name: str = "a.csv") -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", 'id,text,label\n1,"fine, really",pos\n2,"two\nlines",neg\n'),
        ("a.csv", 'id;text;label\n1;"fine, really";pos\n2;"two\nlines";neg\n'),
        ("a.tsv", 'id\ttext\tlabel\n1\tfine, really\tpos\n2\t"two\nlines"\tneg\n'),
        (
            "a.jsonl",
            '{"text": "fine, really", "label": "pos"}\n\n{"text": "two\\nlines", "label": "neg"}\n',
        ),
        (
            "a.json",
            '[{"text": "fine, really", "label": "pos"}, {"text": "two\\nlines", "label": "neg"}]',
        ),
    ],
)
def test_read_table_supports_every_format(tmp_path: Path, name: str, content: str) -> None:
    assert read(table(tmp_path, content, name)) == [("fine, really", "pos"), ("two\nlines", "neg")]


def test_read_table_reads_excel(tmp_path: Path) -> None:
    workbook = openpyxl.Workbook()
    sheet = workbook.create_sheet("reviews")
    for row in (["review", "stars"], ["fine", 5], ["bad", 1.0]):
        sheet.append(row)
    workbook.save(tmp_path / "a.xlsx")
    options = ReadOptions(sheet="reviews")
    assert read(tmp_path / "a.xlsx", label_column="stars", options=options) == [
        ("fine", "5"),
        ("bad", "1"),
    ]


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        ("text,label", {}),
        ("Review,Sentiment", {}),
        ("words,kind", {"text_column": "words", "label_column": "kind"}),
        ("words,kind", {"text_column": "1", "label_column": "2"}),
    ],
)
def test_read_table_finds_the_columns(tmp_path: Path, header: str, columns: dict[str, str]) -> None:
    path = table(tmp_path, f"{header}\nfine,pos\nunknown,\n")
    assert read(path, **columns) == [("fine", "pos"), ("unknown", None)]


@pytest.mark.parametrize(
    ("header", "flag"), [("words,label", "--text-column"), ("text,kind", "--label-column")]
)
def test_read_table_names_the_option_for_a_missing_column(
    tmp_path: Path, header: str, flag: str
) -> None:
    with pytest.raises(DatasetError, match=flag) as error:
        read(table(tmp_path, f"{header}\nfine,pos\n"))
    assert error.value.code == "no-such-column"


def rows(count: int) -> str:
    return "".join(f"film {n},{'pos' if n % 2 else 'neg'}\n" for n in range(count))


def test_read_table_skips_and_lists_a_few_bad_rows(tmp_path: Path) -> None:
    messages: list[str] = []
    bad = ",pos\n<br />,neg\nn/a,neg\n"
    path = table(tmp_path, "text,label\n" + rows(300) + bad)
    assert len(read(path, on_message=messages.append)) == 300
    [_, skipped] = messages
    assert "3 of 303 rows" in skipped
    assert "--encoding" not in skipped
    assert "line 302" in skipped


def test_read_table_rejects_many_bad_rows(tmp_path: Path) -> None:
    path = table(tmp_path, "text,label\n" + rows(100) + ",pos\n" * 12)
    with pytest.raises(DatasetError, match=r"12 of 112 rows .* and 2 more") as error:
        read(path)
    assert error.value.code == "too-many-bad-rows"
    assert len(read(path, max_bad_rows=0.2)) == 100
    single = table(tmp_path, "text,label\nfine,pos\n,neg\n", "b.csv")
    assert len(read(single)) == 1
    with pytest.raises(DatasetError):
        read(single, max_bad_rows=0)


def test_read_table_suggests_the_encoding(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("text,label\ncafé,pos\nthé,neg\n".encode("cp1252"))
    with pytest.raises(DatasetError, match="--encoding") as error:
        read(path)
    assert error.value.code == "too-many-bad-rows"
    assert read(path, options=ReadOptions(encoding="cp1252")) == [("café", "pos"), ("thé", "neg")]


@pytest.mark.parametrize(
    ("labels", "code", "advice"),
    [
        (["pos", "Pos", "neg"], "label-variants", "Pos=pos"),
        (["pos", "Pos", "Pos", "neg"], "label-variants", "pos=Pos"),
        (["good film", "good  film"], "label-variants", "good  film=good film"),
        (["pos", "nan", "neg"], "missing-labels", "nan="),
    ],
)
def test_read_table_rejects_doubtful_labels(
    tmp_path: Path, labels: list[str], code: str, advice: str
) -> None:
    path = table(tmp_path, "text,label\n" + "".join(f"film,{label}\n" for label in labels))
    with pytest.raises(DatasetError) as error:
        read(path)
    assert error.value.code == code
    assert f"--label-map {advice}" in str(error.value)
    read(path, labels=Labels.parse(advice))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["0", "1", "0", "1"], "--label-map 1=positive,0=negative"),
        (["True", "False"] * 2, "--label-map True=positive,False=negative"),
        (["pos", "neg", "pos"], "a single row: neg"),
        (["pos", "pos"], "all rows have the label pos"),
    ],
)
def test_read_table_reports_unusual_labels(tmp_path: Path, labels: list[str], message: str) -> None:
    messages: list[str] = []
    path = table(tmp_path, "text,label\n" + "".join(f"film,{label}\n" for label in labels))
    read(path, on_message=messages.append)
    assert message in messages[-1]


def test_labels_are_the_same_in_every_format(tmp_path: Path) -> None:
    values = [1.0, 0.0, 1, True, None]
    lines = "".join(json.dumps({"text": "a", "label": value}) + "\n" for value in values)
    assert [label for _, label in read(table(tmp_path, lines, "a.jsonl"))] == [
        *("1", "0", "1", "true"),
        None,
    ]
    text = "text,label\na,1.0\na,0.0\na,1\na,true\na,\n"
    assert read(table(tmp_path, text)) == read(tmp_path / "a.jsonl")


def test_label_map_renames_and_removes_labels(tmp_path: Path) -> None:
    path = table(tmp_path, "text,label\nfine,1\nbad,0\nodd,2\n")
    labels = Labels.parse("1=positive, 0=negative ,2=")
    assert read(path, labels=labels) == [("fine", "positive"), ("bad", "negative"), ("odd", None)]
    for invalid in ("positive", "=x"):
        with pytest.raises(DatasetError) as error:
            Labels.parse(invalid)
        assert error.value.code == "invalid-label-map"


@pytest.mark.parametrize(
    "line", ['{"text": null, "label": "a"}', '{"text": ["x"], "label": "a"}',
             '{"text": "x", "label": {"a": 1}}', '{"text": "x"}']
)  # fmt: skip
def test_read_table_rejects_other_json_types(tmp_path: Path, line: str) -> None:
    path = table(tmp_path, '{"text": "fine", "label": "a"}\n' + line, "a.jsonl")
    with pytest.raises(DatasetError, match="line 2"):
        read(path, max_bad_rows=0)


def test_read_table_accepts_texts_with_lone_surrogates(tmp_path: Path) -> None:
    content = '{"text": "x\\ud800", "label": null}\n{"text": "y\\udc80", "label": 1}\n'
    reviews = read_table(table(tmp_path, content, "a.jsonl"))
    assert len(split_validation(reviews, 0.5).validation) == 1


def test_read_table_rejects_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as error:
        read(tmp_path / "none.csv")
    assert error.value.code == "unreadable"


def test_labelled_data_splits_a_table(tmp_path: Path) -> None:
    path = table(tmp_path, "text,label\n" + "".join(f"text {n % 50},{n % 2}\n" for n in range(100)))
    source = LabelledData(path)
    split, labels = source.for_training()
    assert labels == ["0", "1"]
    assert source.default_part == "all"
    assert len(source.part("all")) == 100
    assert source.part("train") == split.train
    assert source.part("validation") == split.validation
    assert not {r.text for r in split.train} & {r.text for r in split.validation}
    with pytest.raises(DatasetError) as error:
        source.part("test")
    assert error.value.code == "no-such-part"


def grouped(tmp_path: Path) -> Path:
    """A table of five customers with twenty tickets each; all of them wrote "thanks"."""
    rows = [f"ticket {n},{'ab'[n % 2]},{n // 20}\n" for n in range(100)]
    thanks = [f"Thanks,a,{n}\n" for n in range(5)]
    return table(tmp_path, "text,label,customer\n" + "".join([*rows, *thanks]))


@pytest.mark.parametrize("column", ["customer", "3"])
def test_labelled_data_splits_by_a_group_column(tmp_path: Path, column: str) -> None:
    split, _ = LabelledData(grouped(tmp_path), group_column=column).for_training()
    train, validation = ({r.group for r in part} for part in (split.train, split.validation))
    assert train | validation == {"0", "1", "2", "3", "4"}
    assert validation
    assert not train & validation
    assert "Thanks" in {r.text for r in split.validation}
    assert "Thanks" not in {r.text for r in split.train}


def test_labelled_data_rejects_missing_group_columns(tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as error:
        LabelledData(grouped(tmp_path), group_column="film").for_training()
    assert error.value.code == "no-such-column"


def test_labelled_data_splits_as_a_recipe(tmp_path: Path) -> None:
    source = LabelledData(grouped(tmp_path)).split_as({"validation_share": 0.5})
    assert len(source.part("validation")) == pytest.approx(50, abs=3)
    default = LabelledData(grouped(tmp_path))
    assert default.split_as({}).part("train") == default.part("train")


def test_labelled_data_requires_two_labels(tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as error:
        LabelledData(table(tmp_path, "text,label\nfine,pos\nbest,pos\n")).for_training()
    assert error.value.code == "too-few-labels"


def test_labelled_data_returns_unlabelled_texts(tmp_path: Path) -> None:
    path = table(tmp_path, "text,label\nfine,pos\nodd,\nbad,neg\nlong,\n")
    assert LabelledData(path).unlabelled_texts() == ["odd", "long"]
