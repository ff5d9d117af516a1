"""The Large Movie Review Dataset (Maas et al. 2011), read from its unpacked folder.

https://ai.stanford.edu/~amaas/data/sentiment/: 25,000 labelled reviews for training, 25,000 for
testing and 50,000 without labels, each also as a bag of words. Knows the layout of the folder;
`fetch` downloads it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from reelsense.datasets.reviews import Review
from reelsense.errors import DatasetError

NAME = "the Large Movie Review Dataset"
LABELS = ("negative", "positive")
SPLITS = ("train", "test", "unsup")

_FILE_NAME = re.compile(r"(\d+)_(\d+)\.txt")
_TITLE_URL = re.compile(r"https?://(?:www\.)?imdb\.com/title/(tt\d+)(?:/.*)?")
_RATINGS = {"neg": range(1, 5), "pos": range(7, 11), "unsup": range(1)}
_LABEL_OF_FOLDER = {"neg": "negative", "pos": "positive", "unsup": None}


def read_split(root: Path, split: str) -> list[Review]:
    """Read the reviews of `split` ("train", "test" or "unsup") below `root`.

    The order is that of the review ids, negative before positive. `Review.group` is the film's
    title id ("tt0064354").

    Raises:
        DatasetError: A file is missing, unreadable, misnamed or not UTF-8.
    """
    if split not in SPLITS:
        raise DatasetError(f"unknown split {split!r}: expected one of {', '.join(SPLITS)}")
    root = find_root(root)
    part = root / ("test" if split == "test" else "train")
    folders = ["unsup"] if split == "unsup" else ["neg", "pos"]
    return [review for folder in folders for review in _read_folder(part, folder)]


def find_root(path: Path) -> Path:
    """Return the folder that contains train/ and test/: `path` itself or `path`/aclImdb."""
    for root in (path, path / "aclImdb"):
        if (root / "train").is_dir() and (root / "test").is_dir():
            return root
    if not path.exists():
        raise DatasetError(
            f"{path} does not exist: `reelsense data fetch imdb` creates data/aclImdb",
            code="no-data",
        )
    raise DatasetError(
        f"{path} is not labelled data: expected a table (.csv, .tsv, .jsonl) or the unpacked Large "
        "Movie Review Dataset with train/ and test/, which `reelsense data fetch imdb` downloads",
        code="no-data",
    )


def _read_folder(part: Path, folder: str) -> Iterator[Review]:
    titles = _read_titles(part / f"urls_{folder}.txt")
    files = _review_files(part / folder, ratings=_RATINGS[folder])
    if set(files) != set(range(len(titles))):
        raise DatasetError(
            f"{part / folder} contains {len(files)} reviews, but urls_{folder}.txt has "
            f"{len(titles)} lines: expected a line for each review id"
        )
    reading = f"reading {part.name}/{folder}"
    for number in tqdm(sorted(files), reading, unit=" reviews", leave=False, delay=1):
        path, rating = files[number]
        yield Review(
            name=f"{part.name}/{folder}/{path.name}",
            text=_read_text(path),
            label=_LABEL_OF_FOLDER[folder],
            rating=rating or None,
            group=titles[number],
        )


def _review_files(folder: Path, ratings: range) -> dict[int, tuple[Path, int]]:
    """Map each review id in `folder` to its file and the rating in the file's name."""
    if not folder.is_dir():
        raise DatasetError(f"{folder} is missing")
    files: dict[int, tuple[Path, int]] = {}
    for path in folder.iterdir():
        match = _FILE_NAME.fullmatch(path.name)
        if match is None:
            raise DatasetError(f"unexpected file {path}: expected names like ID_RATING.txt")
        number, rating = int(match[1]), int(match[2])
        if rating not in ratings:
            raise DatasetError(f"{path} has the rating {rating}, which is not valid in {folder}")
        if number in files:
            raise DatasetError(f"{path} and {files[number][0].name} have the same review id")
        files[number] = (path, rating)
    return files


def _read_titles(path: Path) -> list[str]:
    titles = []
    for number, line in enumerate(_read_text(path).splitlines(), start=1):
        match = _TITLE_URL.fullmatch(line.strip())
        if match is None:
            raise DatasetError(
                f"{path}, line {number}: expected the URL of an IMDb title, not {line!r}"
            )
        titles.append(match[1])
    return titles


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise DatasetError(f"cannot read {path}: {error.strerror}", code="unreadable") from error


@dataclass(frozen=True, slots=True)
class BagOfWords:
    """One line of a labeledBow.feat: the rating (0 where unknown) and a count for each word."""

    rating: int
    counts: dict[str, int]


def read_bags(root: Path, split: str) -> Iterator[BagOfWords]:
    """Yield the bag-of-words form of `split`, line by line, in the file's own order.

    The format is LIBSVM: lines "RATING INDEX:COUNT ...", where the index is that of a line of
    imdb.vocab, from 0.

    Raises:
        DatasetError: A file cannot be read, or a line is malformed.
    """
    if split not in SPLITS:
        raise DatasetError(f"unknown split {split!r}: expected one of {', '.join(SPLITS)}")
    root = find_root(root)
    words = _read_text(root / "imdb.vocab").split("\n")
    words = words[:-1] if words and not words[-1] else words
    part = root / ("test" if split == "test" else "train")
    path = part / ("unsupBow.feat" if split == "unsup" else "labeledBow.feat")
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                yield _parse_bag(line, words, where=f"{path}, line {number}")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is not UTF-8 text") from error
    except OSError as error:
        raise DatasetError(f"cannot read {path}: {error.strerror}", code="unreadable") from error


def _parse_bag(line: str, words: list[str], where: str) -> BagOfWords:
    try:
        rating, *pairs = line.split()
        counts = {}
        for pair in pairs:
            index, count = pair.split(":")
            if int(index) < 0:
                raise ValueError(f"index {index}")
            counts[words[int(index)]] = int(count)
        return BagOfWords(rating=int(rating), counts=counts)
    except (ValueError, IndexError) as error:
        raise DatasetError(
            f"{where}: expected a bag of words over {len(words)} words: {error}"
        ) from error
