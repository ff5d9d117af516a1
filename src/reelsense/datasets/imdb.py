"""The Large Movie Review Dataset (Maas et al. 2011), read from its unpacked folder.

25,000 labelled reviews for training, 25,000 for testing and 50,000 without labels. Knows the layout
of the folder; `fetch` downloads it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from reelsense.datasets.reviews import Review
from reelsense.errors import DatasetError
from reelsense.files import read_text

NAME = "the Large Movie Review Dataset"
LABELS = ("negative", "positive")
SPLITS = ("train", "test", "unsup")

_LABEL_OF_FOLDER = {"neg": "negative", "pos": "positive", "unsup": None}


def read_split(root: Path, split: str) -> list[Review]:
    """Read the reviews of `split` ("train", "test" or "unsup") below `root`.

    The order is that of the review ids, negative before positive. `Review.group` is the film's
    title id ("tt0064354"). Raises DatasetError if a file is missing or is not as in the archive.
    """
    if split not in SPLITS:
        raise DatasetError(f"unknown split {split!r}: expected one of {', '.join(SPLITS)}")
    part = find_root(root) / ("test" if split == "test" else "train")
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
    urls = read_text(part / f"urls_{folder}.txt", DatasetError).splitlines()
    try:
        # http://www.imdb.com/title/tt0064354/usercomments, and 0_9.txt: review id and rating
        titles = [url.split("/")[4] for url in urls]
        ratings = {path: int(path.stem.split("_")[1]) for path in (part / folder).glob("*.txt")}
        paths = {int(path.stem.split("_")[0]): path for path in ratings}
    except (ValueError, IndexError) as error:
        raise _damaged(part / folder) from error
    if len(ratings) != len(titles) or set(paths) != set(range(len(titles))):
        raise _damaged(part / folder)
    reading = f"reading {part.name}/{folder}"
    for number in tqdm(range(len(titles)), reading, unit=" reviews", leave=False, delay=1):
        path = paths[number]
        yield Review(
            name=f"{part.name}/{folder}/{path.name}",
            text=read_text(path, DatasetError),
            label=_LABEL_OF_FOLDER[folder],
            rating=ratings[path] or None,
            group=titles[number],
        )


def _damaged(folder: Path) -> DatasetError:
    return DatasetError(
        f"{folder} or its urls_{folder.name}.txt is not as in the archive: unpack it again with "
        "`reelsense data fetch imdb`"
    )
