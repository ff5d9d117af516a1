from __future__ import annotations

import json
from pathlib import Path

import pytest

from reelsense.errors import DatasetError, InputError
from reelsense.inference.classifier import Classifier
from reelsense.summary.aspects import MAX_SAMPLE
from reelsense.summary.files import FileSummary, summarize_file
from reelsense.tables.reading import ReadOptions
from tests import tiny
from tests.scoring import score_file

ROWS = [
    ("Heat", "2026-01-01", "The music is great."),
    ("Heat", "2026-01-02", "A good, great film."),
    ("Cats", "2026-01-03", "The plot is awful."),
    ("Cats", "2026-01-04", ""),
]


def loaded() -> Classifier:
    return tiny.star_classifier()


def not_loaded() -> Classifier:
    raise AssertionError("the model is not needed")


def write(folder: Path, name: str = "in.csv", *, times: int = 1) -> Path:
    path = folder / name
    rows = ROWS * times
    if path.suffix == ".jsonl":
        lines = [json.dumps({"film": f, "label": "mine", "text": t}) for f, _, t in rows]
    else:
        lines = ["film,seen,label,text", *(f'{f},{s},mine,"{t}"' for f, s, t in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def summarized(path: Path, load: object = loaded, **options: object) -> FileSummary:
    return summarize_file(str(path), load, options=ReadOptions(), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["in.csv", "in.jsonl"])
def test_scored_file_has_the_summary_of_the_unscored(tmp_path: Path, name: str) -> None:
    unscored = write(tmp_path, name)
    scored = tmp_path / f"scored{unscored.suffix}"
    score_file(loaded(), unscored, scored, "text")
    first, second = summarized(unscored), summarized(scored)
    assert (first.was_scored, second.was_scored) == (False, True)
    assert second.summary == first.summary
    assert first.summary.verdicts == {"negative": 1, "positive": 2, "unsure": 0, "error": 1}
    assert "label" in first.summary.columns  # of the user, not that of the prediction
    assert first.summary.aspects
    assert {aspect.aspect for aspect in first.summary.aspects.aspects} == {"music", "story"}
    assert first.summary.notable.mixed[0].text in [text for *_, text in ROWS]


def test_scored_file_without_aspects_needs_no_model(tmp_path: Path) -> None:
    score_file(loaded(), write(tmp_path), tmp_path / "scored.csv", "text")
    result = summarized(tmp_path / "scored.csv", not_loaded, aspects=False)
    assert result.summary.total.rows == 4
    assert result.summary.aspects is None


def test_large_file_is_searched_for_aspects_in_a_sample(tmp_path: Path) -> None:
    path = write(tmp_path, times=MAX_SAMPLE // 4 + 1)
    summary = summarized(path).summary
    assert summary.total.rows == MAX_SAMPLE + 4
    assert summary.aspects
    assert summary.aspects.rows == MAX_SAMPLE // 2 + 2
    [music] = [aspect for aspect in summary.aspects.aspects if aspect.aspect == "music"]
    assert music.mentions == MAX_SAMPLE // 4 + 1  # in every other row of the file


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("text,label,score,verdict\ngood,positive,0.9,negative\n", "invalid-prediction"),
        ("text,label,score,verdict\ngood,positive,high,positive\n", "invalid-prediction"),
        ("text,label,score,verdict\ngood,positive,1.5,positive\n", "invalid-prediction"),
        ("text,label,score,verdict\ngood,positive,nan,positive\n", "invalid-prediction"),
        ("text,label,score,verdict,stars\ngood,a,0.5,a,11\n", "invalid-prediction"),
        ("text,label,score,verdict\n,,,\n", "no-predictions"),
        ("text,label,score,verdict\n", "no-rows"),
        ("text\n", "no-rows"),
        ("", "no-rows"),
        ("a,b\n1,2\n", "no-such-column"),
    ],
)
def test_unusable_files_are_errors(tmp_path: Path, content: str, code: str) -> None:
    path = tmp_path / "in.csv"
    path.write_text(content)
    with pytest.raises(DatasetError) as caught:
        summarized(path)
    assert caught.value.code == code


def test_folder_is_an_error(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(DatasetError) as caught:
        summarized(tmp_path)
    assert caught.value.code == "not-a-file"


def test_unknown_group_column_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        summarized(write(tmp_path), group_column="actor")
    assert caught.value.code == "no-such-column"
    assert "'film'" in str(caught.value)


def test_labels_of_a_scored_file_are_those_of_its_predictions(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("text,label,score,verdict\na,bug,0.9,bug\nb,billing,0.4,unsure\n")
    summary = summarized(path).summary
    assert summary.labels == ["billing", "bug"]
    assert (summary.aspects, summary.total.stars) == (None, None)
