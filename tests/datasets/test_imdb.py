from collections.abc import Callable
from pathlib import Path

import pytest

from reelsense.datasets.imdb import read_split
from reelsense.errors import DatasetError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A dataset with two reviews per folder, in the layout of the official archive."""
    for part, folders in {"train": ("neg", "pos", "unsup"), "test": ("neg", "pos")}.items():
        for folder in folders:
            home = tmp_path / "aclImdb" / part / folder
            home.mkdir(parents=True)
            rating = {"neg": 3, "pos": 8, "unsup": 0}[folder]
            for number in range(2):
                (home / f"{number}_{rating}.txt").write_text(f"{part} {folder} {number} é")
            (home.parent / f"urls_{folder}.txt").write_text(
                "".join(f"http://www.imdb.com/title/tt000{n}/usercomments\n" for n in range(2))
            )
    return tmp_path / "aclImdb"


def test_read_split_returns_label_rating_film_and_text_in_order(root: Path) -> None:
    reviews = read_split(root, "train")
    assert [(r.name, r.label, r.rating, r.group) for r in reviews] == [
        ("train/neg/0_3.txt", "negative", 3, "tt0000"),
        ("train/neg/1_3.txt", "negative", 3, "tt0001"),
        ("train/pos/0_8.txt", "positive", 8, "tt0000"),
        ("train/pos/1_8.txt", "positive", 8, "tt0001"),
    ]
    assert reviews[0].text == "train neg 0 é"


def test_unlabelled_reviews_have_no_label_and_no_rating(root: Path) -> None:
    assert {(r.label, r.rating) for r in read_split(root, "unsup")} == {(None, None)}


def test_read_split_accepts_the_parent_folder(root: Path) -> None:
    assert read_split(root.parent, "test") == read_split(root, "test")


def misname(root: Path) -> Path:
    return (root / "train/neg/0_3.txt").rename(root / "train/neg/zero_3.txt")


def repeat(root: Path) -> Path:
    path = root / "train/neg/0_4.txt"
    path.write_text("again")
    return path


def garble(root: Path) -> Path:
    path = root / "train/pos/1_8.txt"
    path.write_bytes(b"caf\xe9")
    return path


def lose_review(root: Path) -> Path:
    (root / "train/neg/0_3.txt").unlink()
    return root / "train/neg"


def lose_titles(root: Path) -> Path:
    path = root / "train/urls_pos.txt"
    path.unlink()
    return path


def garble_title(root: Path) -> Path:
    path = root / "train/urls_pos.txt"
    path.write_text("http://www.imdb.com/title/tt0001/\nhttp://elsewhere/\n")
    return path


@pytest.mark.parametrize(
    "damage", [misname, repeat, garble, lose_review, lose_titles, garble_title]
)
def test_damaged_dataset_is_an_error(root: Path, damage: Callable[[Path], Path]) -> None:
    path = damage(root)
    with pytest.raises(DatasetError, match=path.parent.name):
        read_split(root, "train")


def test_missing_folder_or_split_is_an_error(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="data fetch imdb"):
        read_split(tmp_path / "elsewhere", "train")
    with pytest.raises(DatasetError, match="validation"):
        read_split(root, "validation")
