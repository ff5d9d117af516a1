from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from reelsense.errors import TrainingError
from reelsense.training import teachers
from reelsense.training.teachers import ClassifierTeacher, LogitStore, ScorerTeacher, read_logits
from tests import tiny
from tests.conftest import LABELS
from tests.training.conftest import code

TEXTS = [f"text {n}" for n in range(9)]


class RandomTeacher:
    """Returns other logits for each text; is interrupted after `limit` texts."""

    def __init__(self, outputs: int = 2, limit: float = float("inf"), times: float = 1.0) -> None:
        self.outputs, self.limit, self.times = outputs, limit, times
        self.scored: list[str] = []

    def logits(self, texts: Sequence[str]) -> NDArray[np.float64]:
        if len(self.scored) + len(texts) > self.limit:
            raise KeyboardInterrupt
        self.scored += texts
        numbers = [[crc32(f"{text} {n}".encode()) for n in range(self.outputs)] for text in texts]
        return self.times * np.array(numbers) / 2**32


def store(ratings: tuple[int, ...] = ()) -> LogitStore:
    return LogitStore(tuple(LABELS), ratings)


def test_score_averages_teachers_and_stars_of_those_that_have_them() -> None:
    kept = store(ratings=(1, 10))
    rated, plain = RandomTeacher(4), RandomTeacher(2, times=3.0)
    teachers.score_missing(kept, [rated, plain], TEXTS)
    expected = rated.logits(["text 3"])[0]
    expected[:2] *= 2
    assert kept.get("text 3") == pytest.approx(expected, abs=1e-3)


def test_interrupted_scoring_continues_with_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teachers, "_BATCH_SIZE", 2)
    monkeypatch.setattr(teachers, "_SAVE_EVERY", 2)
    whole, path = store(), tmp_path / "logits.npz"
    teachers.score_missing(whole, [RandomTeacher()], TEXTS)
    with pytest.raises(KeyboardInterrupt):
        teachers.score_missing(store(), [RandomTeacher(limit=5)], TEXTS, path)
    kept, second = read_logits(path), RandomTeacher()
    teachers.score_missing(kept, [second], [*TEXTS, *TEXTS], path)
    assert second.scored == TEXTS[4:]
    read = read_logits(path)
    assert {key: row.tolist() for key, row in read.rows.items()} == {
        key: row.tolist() for key, row in whole.rows.items()
    }


def test_texts_without_logits_and_without_teacher_are_an_error() -> None:
    with code("no-teacher"):
        teachers.score_missing(store(), [], TEXTS)


def test_file_depends_on_the_texts_only(tmp_path: Path) -> None:
    first, second = tmp_path / "first.npz", tmp_path / "second.npz"
    for path, texts in ((first, TEXTS), (second, TEXTS[::-1])):
        kept = store()
        teachers.score_missing(kept, [RandomTeacher()], texts, path)
    arrays, others = np.load(first), np.load(second)
    for name in ("keys", "logits", "about"):
        assert np.array_equal(arrays[name], others[name])


@given(st.text(), st.floats(-60000, 60000))
def test_store_returns_what_was_added(text: str, value: float) -> None:
    kept = store()
    kept.add([text], np.array([[value, -value]]))
    assert kept.get(text) == pytest.approx((value, -value), rel=1e-3, abs=1e-4)
    assert kept.missing([text, f"{text}!", f"{text}!"]) == [f"{text}!"]


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04", b"text"])
def test_damaged_file_is_an_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "logits.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TrainingError, match=r"logits\.npz"):
        read_logits(path)


def test_classifier_teacher_gives_logits_of_labels_and_stars() -> None:
    logits = ClassifierTeacher(tiny.star_classifier()).logits(["good", "bad film"])
    assert logits.tolist() == [[-1, 1, -1, 0, 1], [1, -1, 1, 0, -1]]


def test_scorer_teacher_gives_log_probabilities() -> None:
    classifier = tiny.classifier()
    logits = ScorerTeacher(classifier).logits(["good", "bad"])
    assert np.exp(logits) == pytest.approx(classifier.predict_proba(["good", "bad"]))
