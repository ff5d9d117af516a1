import json
import stat
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from reelsense.cli import cli
from reelsense.errors import DatasetError, StoreError
from reelsense.feedback.records import Feedback, NewFeedback
from reelsense.feedback.repository import FeedbackRepository
from reelsense.jobs.database import Database
from tests.feedback.made import kept


@pytest.fixture
def repository(url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("REELSENSE_DATABASE", url)
    database = Database(url)
    yield FeedbackRepository(database, keep_texts=True)
    database.close()


@pytest.fixture
def ids(repository: FeedbackRepository) -> list[str]:
    prediction = kept("A joy.")
    repository.add_predictions([prediction])
    outcomes = [
        repository.add([item])[0]
        for item in (
            NewFeedback(prediction.id, None, "negative", comment="ironic\x1b[0m"),
            NewFeedback(None, "A bore.", "negative", stars=2, source="till"),
        )
    ]
    assert all(isinstance(outcome, Feedback) for outcome in outcomes)
    return [outcome.id for outcome in outcomes if isinstance(outcome, Feedback)]


def run(*arguments: str | Path, **more: Any) -> Result:
    command = ["feedback", *map(str, arguments)]
    return CliRunner().invoke(cli, command, catch_exceptions=False, **more)


def as_json(*arguments: str | Path, **more: Any) -> Any:
    result = run(*arguments, "--json", "-", **more)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_list_prints_latest_first(ids: list[str]) -> None:
    later, earlier, count = run("list").stdout.splitlines()
    assert later.startswith(ids[1])
    assert "negative, 2 stars  [till]  A bore." in later
    assert "negative  (predicted positive)  [api]  A joy.  - ironic\\x1b[0m" in earlier
    assert count == "2 of 2"
    assert run("list", "--limit", "1", "--source", "api").stdout.startswith(ids[0])


def test_list_writes_json(ids: list[str], tmp_path: Path) -> None:
    listed = as_json("list", "--differs")
    assert listed["total"] == 1
    assert listed["feedback"][0]["id"] == ids[0]
    assert listed["feedback"][0]["predicted"]["label"] == "positive"
    assert listed["feedback"][0]["created"].endswith("+00:00")
    file = tmp_path / "list.json"
    run("list", "--json", file)
    assert json.loads(file.read_text())["total"] == 2
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_list_filters_by_time(ids: list[str]) -> None:
    assert as_json("list", "--before", "2020-01-01")["total"] == 0
    assert as_json("list", "--since", "2020-01-01T00:00+01:00")["total"] == 2
    result = run("list", "--since", "yesterday")
    assert (result.exit_code, result.stdout) == (2, "")
    assert 'invalid time "yesterday"' in result.stderr


def test_stats_count(ids: list[str]) -> None:
    assert as_json("stats") == {
        "total": 2,
        "with_text": 2,
        "predictions": 1,
        "compared": 1,
        "correct": 0,
        "labels": {"negative": 2},
        "sources": {"api": 1, "till": 1},
        "measured": [],
    }
    lines = run("stats").stdout.splitlines()
    assert lines[:2] == ["feedback: 2 (2 with text)", "  label negative: 2"]
    assert lines[-1].startswith("accuracy: not measured")


def test_stats_measure_accuracy_on_random_items(repository: FeedbackRepository) -> None:
    predictions = [kept(f"A joy {n}.") for n in range(10)]
    repository.add_predictions(predictions)
    for n, prediction in enumerate(predictions):
        label = "positive" if n < 8 else "negative"
        repository.add([NewFeedback(prediction.id, None, label, source="queue-random")])
        repository.add([NewFeedback(prediction.id, None, "negative", source="queue-unsure")])
    (measured,) = as_json("stats")["measured"]
    assert (measured["source"], measured["model"], measured["version"]) == (
        *("queue-random", "tiny", "1"),
    )
    accuracy = measured["accuracy"]
    assert (accuracy["count"], accuracy["total"], accuracy["value"]) == (8, 10, 0.8)
    assert (round(accuracy["low"], 3), round(accuracy["high"], 3)) == (0.490, 0.943)
    assert run("stats").stdout.splitlines()[-1] == (
        "accuracy of tiny 1: 80.0% (49.0% to 94.3%), from 10 random items (queue-random)"
    )


def test_exported_table_is_private_and_can_be_imported(ids: list[str], tmp_path: Path) -> None:
    table = tmp_path / "f.csv"
    assert as_json("export", "--output", table) == {"exported": 2}
    assert stat.S_IMODE(table.stat().st_mode) == 0o600
    assert as_json("import", table) == {"imported": 0, "skipped": 2}
    for name in ids:
        as_json("forget", "--id", name)
    assert as_json("import", table) == {"imported": 2, "skipped": 0}
    assert {entry["id"] for entry in as_json("list")["feedback"]} == set(ids)


def test_export_for_training(
    repository: FeedbackRepository, ids: list[str], tmp_path: Path
) -> None:
    repository.add([NewFeedback(text="So so.", stars=5)])
    result = run("export", "--output", "-", "--for-training")
    assert [json.loads(line)["text"] for line in result.stdout.splitlines()] == [
        "A joy.",
        "A bore.",
    ]


def test_export_rejects_two_outputs_on_stdout(ids: list[str]) -> None:
    assert run("export", "--output", "-", "--json", "-").exit_code == 2


def test_import_of_invalid_table_imports_nothing(ids: list[str], tmp_path: Path) -> None:
    table = tmp_path / "f.csv"
    table.write_text("text,label\nfine,positive\nbad,unsure\n")
    with pytest.raises(DatasetError, match="line 3"):
        run("import", table)
    with pytest.raises(DatasetError):
        run("import", tmp_path / "missing.csv")
    assert as_json("stats")["total"] == 2


def test_import_reads_other_columns(ids: list[str], tmp_path: Path) -> None:
    table = tmp_path / "f.csv"
    table.write_text("review;kind\nGreat.;positive\n")
    options = ("--text-column", "review", "--label-column", "kind", "--source", "shop")
    assert as_json("import", table, *options) == {"imported": 1, "skipped": 0}
    assert as_json("list", "--source", "shop")["feedback"][0]["text"] == "Great."


def test_forget_deletes(ids: list[str]) -> None:
    assert as_json("forget", "--text", "-", input="a joy.\n") == {"predictions": 1, "feedback": 1}
    assert as_json("forget", "--id", ids[1], "--id", "x") == {"predictions": 0, "feedback": 1}
    assert run("forget", "--before", "2100-01-01").stdout == (
        "deleted: predictions 0, feedback 0\n"
    )
    assert as_json("stats")["total"] == 0


def test_forget_requires_selection(ids: list[str]) -> None:
    assert run("forget").exit_code == 2
    assert as_json("stats")["total"] == 2


def test_forget_rejects_a_database_that_does_not_exist(tmp_path: Path) -> None:
    """A mistyped name must not look like a successful deletion."""
    file = tmp_path / "mistyped.db"
    with pytest.raises(StoreError) as caught:
        run("forget", "--text", "A joy.", "--database", f"sqlite:///{file}")
    assert caught.value.code == "no-such-database"
    assert not file.exists()


def test_database_comes_from_flag_or_settings_file(ids: list[str], tmp_path: Path) -> None:
    other = f"sqlite:///{tmp_path / 'other.db'}"
    assert as_json("stats", "--database", other)["total"] == 0
    file = tmp_path / "serve.toml"
    file.write_text(f'database = "{other}"\n')
    assert as_json("stats", "--config", file, env={"REELSENSE_DATABASE": ""})["total"] == 0
    with pytest.raises(StoreError) as caught:
        run("stats", "--database", "nosuch://host")
    assert caught.value.code == "unsupported-database"
