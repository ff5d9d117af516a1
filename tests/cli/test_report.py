import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from reelsense.cli import cli
from reelsense.errors import DatasetError
from reelsense.inference.classifier import Classifier
from tests import tiny
from tests.scoring import score_file

TABLE = 'film,text\nHeat,"The music is great."\nHeat,a good film\nCats,a bad film\nCats,\n'


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Classifier, "load", lambda _: tiny.star_classifier())
    (tmp_path / "films.csv").write_text(TABLE)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["report", *arguments], catch_exceptions=False)


def test_report_prints_findings_and_groups() -> None:
    result = run("films.csv")
    assert result.exit_code == 0
    findings, groups = result.stdout.split("\n\n")
    assert findings.startswith("Of 3 rows with a verdict, 66.7 % are positive (20.8 % to 93.9 %).")
    assert [line.split()[:2] for line in groups.splitlines()] == [
        ["film", "rows"],
        ["Heat", "2"],
        ["Cats", "2"],
    ]


def test_report_writes_html_csv_and_json(folder: Path) -> None:
    assert run("films.csv", "--output", "report.html", "--json", "summary.json").exit_code == 0
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "<h1>Summary of films.csv</h1>" in page
    assert "scored by tiny 0" in page
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["total"]["rows"], summary["group_column"]) == (4, "film")
    assert run("films.csv", "--output", "groups.csv").exit_code == 0
    with (folder / "groups.csv").open(newline="") as file:
        assert [row["film"] for row in csv.DictReader(file)] == ["Heat", "Cats"]


def test_report_of_scored_file_equals_that_of_the_unscored(folder: Path) -> None:
    score_file(tiny.star_classifier(), folder / "films.csv", folder / "scored.csv", "text")
    assert run("scored.csv").stdout == run("films.csv").stdout


def test_report_json_on_standard_output_is_alone() -> None:
    result = run("films.csv", "--json", "-", "--group-column", "film", "--no-aspects")
    summary = json.loads(result.stdout)
    assert (summary["group_column"], summary["aspects"]) == ("film", None)
    assert "Of 3 rows" in result.stderr


def test_report_rejects_other_outputs_and_columns() -> None:
    result = run("films.csv", "--output", "report.pdf")
    assert result.exit_code == 2
    assert "report.pdf should end with .html or .csv" in result.output
    with pytest.raises(DatasetError) as caught:
        run("films.csv", "--column", "nope")
    assert caught.value.code == "no-such-column"
