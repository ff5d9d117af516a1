import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelsense.datasets.feedback import HELD_OUT_SHARE, Conflict, is_held_out, read_feedback
from reelsense.errors import DatasetError


def write(path: Path, *rows: tuple[str, str]) -> Path:
    lines = [json.dumps({"text": text, "label": label}) for text, label in rows]
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def test_feedback_is_deduplicated_and_conflicts_are_listed(tmp_path: Path) -> None:
    path = write(
        tmp_path / "feedback.jsonl",
        ("A joy.", "positive"),
        ("a  JOY.<br />", "positive"),
        ("It was fine.", "positive"),
        ("it was fine.", "negative"),
        ("It was fine.", "negative"),
        ("A bore.", "negative"),
        ("Unknown.", ""),
    )
    feedback = read_feedback(path)
    rows = [(row.text, row.label) for row in (*feedback.train, *feedback.held_out)]
    assert sorted(rows) == [("A bore.", "negative"), ("A joy.", "positive")]
    assert feedback.conflicts == [Conflict("It was fine.", ("positive", "negative"))]
    assert feedback.duplicates == 2
    assert feedback.texts == {"a joy.", "a bore.", "it was fine."}


def test_fixed_share_is_held_out(tmp_path: Path) -> None:
    rows = [(f"film number {n}", "positive") for n in range(2000)]
    feedback = read_feedback(write(tmp_path / "a.jsonl", *rows))
    assert len(feedback.held_out) / len(rows) == pytest.approx(HELD_OUT_SHARE, abs=0.03)
    some = read_feedback(write(tmp_path / "b.jsonl", *reversed(rows[:100])))
    known = {row.text for row in feedback.held_out}
    assert {row.text for row in some.held_out} == known & {text for text, _ in rows[:100]}


def test_hold_out_is_the_same_on_every_machine() -> None:
    assert [n for n in range(12) if is_held_out(f"text {n}")] == [6]


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="<&"), min_size=1))
def test_hold_out_ignores_case_and_spaces(text: str) -> None:
    assert is_held_out(text) == is_held_out(f" {text}  ")


@pytest.mark.parametrize("content", ['{"text": "A joy."}\n', "[1]", "x"])
def test_unreadable_feedback_is_an_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.jsonl").write_text(content)
    with pytest.raises(DatasetError):
        read_feedback(tmp_path / "a.jsonl")
