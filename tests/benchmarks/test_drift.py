from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from drift import Demonstration, foreign_reviews, mostly_negative, shuffled, tickets
from reelsense.bundle import write_bundle
from reelsense.drift.profile import Rows, serialize
from reelsense.text.language import language
from tests import tiny
from tests.drift.synthetic import make_rows


@pytest.fixture
def demonstration(tmp_path: Path) -> Demonstration:
    bundle = replace(tiny.bundle(), profile=serialize(make_rows(1000, seed=99)))
    write_bundle(tmp_path / "model", bundle)
    return Demonstration(tmp_path / "model", tmp_path / "cache")


def test_foreign_reviews_are_different_and_in_four_languages() -> None:
    texts = foreign_reviews()
    assert len(texts) == len(set(texts)) == 864
    assert {language(text) for text in texts} == {"de", "fr", "es", "it"}


def test_tickets_are_invented_texts() -> None:
    assert len(tickets()) == 1000


def test_streams_are_checked_until_an_alert(demonstration: Demonstration) -> None:
    usual = make_rows(1000, seed=1)
    changed: list[Rows] = [make_rows(500, seed=2, length=10), make_rows(500, seed=3)]
    first, second = demonstration.texts_until_alert(usual, changed)
    assert first is not None
    assert 10 <= first <= 200
    assert second is None


def test_false_alarms_are_counted(demonstration: Demonstration) -> None:
    usual = make_rows(600, seed=1)
    assert demonstration.false_alarms(usual, 30)["none"] >= 195
    films = [str(n // 3) for n in range(600)]
    assert demonstration.false_alarms(usual, 100, films)["none"] >= 195
    assert demonstration.false_alarms(make_rows(600, length=10), 30)["alarm"] == 200


def test_mostly_negative_streams_have_four_fifths(demonstration: Demonstration) -> None:
    usual = make_rows(400, seed=1)
    for stream in mostly_negative(usual, 0):
        assert (stream["label"] == 0).mean() == 0.8
    orders = shuffled(usual)
    assert sorted(orders[0]["tokens"]) == sorted(orders[1]["tokens"])
    assert not np.array_equal(orders[0]["tokens"], orders[1]["tokens"])


def test_predictions_are_cached(demonstration: Demonstration) -> None:
    rows = make_rows(3)
    path = demonstration._cache / "usual.npy"
    path.parent.mkdir(parents=True)
    np.save(path, rows)
    assert demonstration.rows("usual", list).tobytes() == rows.tobytes()
