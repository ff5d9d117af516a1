from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from reelsense.evaluation.baseline import BagOfWordsModel
from reelsense.training import teachers
from reelsense.training.teachers import LogitStore, read_logits
from tests import tiny
from tests.conftest import LABELS
from tests.training.conftest import code

TEXTS = [f"text {n}" for n in range(9)]


class RandomTeacher(BagOfWordsModel):
    """Returns other probabilities for each text; is interrupted after `limit` texts."""

    def __init__(self, limit: float = float("inf")) -> None:
        self.limit = limit
        self.scored: list[str] = []

    def predict_proba(self, texts: Sequence[str]) -> NDArray[np.float64]:
        if len(self.scored) + len(texts) > self.limit:
            raise KeyboardInterrupt
        self.scored += texts
        positive = np.array([crc32(text.encode()) for text in texts]) / 2**32
        return np.stack([1 - positive, positive], axis=1)


def store(ratings: tuple[int, ...] = ()) -> LogitStore:
    return LogitStore(tuple(LABELS), ratings)


def test_score_missing_averages_logits_over_teachers() -> None:
    kept = store()
    teachers.score_missing(kept, [tiny.star_classifier(), RandomTeacher()], ["good"])
    bag_of_words = np.log(RandomTeacher().predict_proba(["good"])[0])
    expected = [*(np.array([-1, 1]) + bag_of_words) / 2, -1, 0, 1]
    assert kept.ratings == tiny.STARS
    assert kept.get("good") == pytest.approx(expected, abs=1e-3)


def test_teachers_with_different_stars_are_an_error() -> None:
    first, second = tiny.star_classifier(), tiny.star_classifier()
    second.manifest = replace(second.manifest, ratings=(1, 2, 3))
    with code("ratings-differ"):
        teachers.score_missing(store(), [first, second], TEXTS)


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


def test_file_of_logits_depends_only_on_the_texts(tmp_path: Path) -> None:
    first, second = tmp_path / "first.npz", tmp_path / "second.npz"
    for path, texts in ((first, TEXTS), (second, TEXTS[::-1])):
        kept = store()
        teachers.score_missing(kept, [RandomTeacher()], texts, path)
    arrays, others = np.load(first), np.load(second)
    for name in ("keys", "logits", "about"):
        assert np.array_equal(arrays[name], others[name])


@given(st.text(), st.floats(-60000, 60000))
def test_logit_store_returns_added_logits(text: str, value: float) -> None:
    kept = store()
    kept.add([text], np.array([[value, -value]]))
    assert kept.get(text) == pytest.approx((value, -value), rel=1e-3, abs=1e-4)
    assert kept.missing([text, f"{text}!", f"{text}!"]) == [f"{text}!"]


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04", b"text"])
def test_read_logits_rejects_missing_or_damaged_file(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "logits.npz"
    if content is not None:
        path.write_bytes(content)
    with code("no-teacher-logits" if content is None else "invalid-teacher-logits"):
        read_logits(path)
