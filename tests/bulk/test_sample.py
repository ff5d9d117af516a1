from pathlib import Path

import pytest

from reelsense.bulk.sample import sample_texts
from reelsense.errors import DatasetError
from tests import tiny

MANIFEST = tiny.bundle().manifest


def test_sample_has_all_texts_of_a_small_file(tmp_path: Path) -> None:
    path = tmp_path / "reviews.csv"
    path.write_text("id,review\n1,good film\n2,\n3,bad film\n")
    messages: list[str] = []
    texts = sample_texts(str(path), MANIFEST, 10, on_message=messages.append)
    assert texts == ["good film", "bad film"]
    assert any("skipped 1 rows" in message for message in messages)
    assert sample_texts(str(path), MANIFEST, 10, column="id") == ["1", "2", "3"]


def test_sample_of_a_large_file_is_random_and_repeatable(tmp_path: Path) -> None:
    path = tmp_path / "reviews.txt"
    path.write_text("".join(f"film {n}\n" for n in range(1000)))
    texts = sample_texts(str(path), MANIFEST, 100)
    assert texts == sample_texts(str(path), MANIFEST, 100)
    assert len(set(texts)) == 100
    numbers = [int(text.split()[1]) for text in texts]
    assert sum(numbers) / 100 == pytest.approx(500, abs=90)


def test_sample_reads_several_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_text(f"film {name}\n")
    assert sample_texts(str(tmp_path), MANIFEST, 10) == ["film a", "film b"]


def test_sample_rejects_what_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "reviews.csv"
    path.write_text("a,b\n1,2\n")
    for source, column, code in (
        (path, None, "no-such-column"),
        (tmp_path / "missing.csv", None, "unreadable-file"),
    ):
        with pytest.raises(DatasetError) as raised:
            sample_texts(str(source), MANIFEST, 10, column=column)
        assert raised.value.code == code
