import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reelsense.errors import DatasetError
from reelsense.feedback import queries
from reelsense.feedback.exchange import (
    COLUMNS,
    add_records,
    export_format,
    read_records,
    write_table,
)
from reelsense.feedback.queries import FeedbackQuery
from reelsense.feedback.records import Feedback, NewFeedback, text_hash
from reelsense.feedback.repository import FeedbackRepository
from reelsense.jobs.database import Database
from tests.feedback.made import kept


def everything(database: Database) -> list[Feedback]:
    return list(queries.each(database, FeedbackQuery()))


def exported(database: Database, path: Path) -> int:
    with path.open("wb") as file:
        return write_table(everything(database), export_format(path.name), file)


@pytest.mark.parametrize("name", ["f.csv", "f.tsv.gz", "f.jsonl"])
def test_exported_feedback_can_be_imported(
    database: Database, repository: FeedbackRepository, tmp_path: Path, name: str
) -> None:
    prediction = kept('A joy,\n"really"; n/a\t')
    repository.add_predictions([prediction])
    repository.add(
        [
            NewFeedback(prediction.id, None, "negative", 2.5, "a\ncomment", "till", "shop"),
            NewFeedback(None, "n/a", stars=7, comment="none"),
        ]
    )
    FeedbackRepository(database).add([NewFeedback(text="hashed", label="a")])
    before = everything(database)
    path = tmp_path / name
    assert exported(database, path) == 3
    records = read_records(path)
    assert add_records(database, records) == 0
    queries.forget_before(database, 1e12)
    assert add_records(database, records) == 3
    after = everything(database)
    plain = [name for name in COLUMNS if not name.startswith("predicted")]
    assert [[getattr(entry, name) for name in plain] for entry in after] == [
        [getattr(entry, name) for name in plain] for entry in before
    ]


def test_empty_export_has_header(database: Database, tmp_path: Path) -> None:
    assert exported(database, tmp_path / "f.csv") == 0
    assert (tmp_path / "f.csv").read_text().strip() == ",".join(COLUMNS)


def test_export_rejects_other_formats() -> None:
    for name in ("f.parquet", "f.xlsx", "f.json", "f.txt", "f"):
        with pytest.raises(DatasetError) as caught:
            export_format(name)
        assert caught.value.code == "unknown-format"
        assert ".json," not in str(caught.value)  # names only formats that work


def test_any_labelled_table_can_be_imported(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "films.csv"
    path.write_text("n,review,sentiment,stars\n1,A joy.,positive,9\n2,A bore.,,1.5\n")
    records = read_records(path, "review", "sentiment", source="shop")
    assert add_records(database, records) == 2
    assert add_records(database, read_records(path, "2", "3", source="shop")) == 0
    assert sorted(
        (entry.text, entry.label, entry.stars, entry.source) for entry in everything(database)
    ) == [("A bore.", None, 1.5, "shop"), ("A joy.", "positive", 9.0, "shop")]
    assert everything(database)[0].text_hash in {text_hash("A joy."), text_hash("A bore.")}


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"label": "a"}, "has no text"),
        ({"text": " ", "label": "a"}, "has no text"),
        ({"text_hash": "abc", "label": "a"}, "has no text"),
        ({"text": "A joy."}, "neither a label nor stars"),
        ({"text": "A joy.", "label": "N/A"}, "neither a label nor stars"),
        ({"text": "A joy.", "label": "unsure"}, "reserved"),
        ({"text": "A joy.", "stars": "many"}, "invalid stars 'many'"),
        ({"text": "A joy.", "stars": 0}, "invalid stars '0'"),
        ({"text": "A joy.", "stars": "nan"}, "neither"),
        ({"text": "A joy.", "label": "a", "created": "noon"}, 'invalid time "noon"'),
        ({"text": "A joy.", "label": "a", "id": "x"}, "invalid id 'x'"),
        ({"text": "A joy.", "label": "a", "prediction_id": "x"}, "invalid prediction_id 'x'"),
    ],
)
def test_import_rejects_invalid_rows(tmp_path: Path, values: dict[str, Any], problem: str) -> None:
    path = tmp_path / "f.jsonl"
    path.write_text(json.dumps({"text": "fine", "label": "a"}) + "\n" + json.dumps(values) + "\n")
    with pytest.raises(DatasetError, match=f"line 2: .*{problem}") as caught:
        read_records(path)
    assert caught.value.code == "invalid-row"


def test_import_names_the_missing_text_column(tmp_path: Path) -> None:
    path = tmp_path / "films.csv"
    path.write_text("review,label\nA joy.,positive\n")
    with pytest.raises(DatasetError, match="--text-column, one of 'review', 'label'") as caught:
        read_records(path)
    assert caught.value.code == "no-such-column"


JSON = st.none() | st.booleans() | st.floats() | st.text(st.characters(codec=None), max_size=20)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(COLUMNS), JSON | st.lists(JSON, max_size=2), max_size=6))
def test_import_accepts_or_rejects_any_row(tmp_path: Path, values: dict[str, Any]) -> None:
    path = tmp_path / "f.jsonl"
    path.write_text(json.dumps({"text": "fine", "stars": 1} | values))
    try:
        (record,) = read_records(path)
    except DatasetError:
        return
    assert record["label"] or record["stars"]
    json.dumps(record, ensure_ascii=False).encode()
