from pathlib import Path

from reelsense.datasets.labelled import LabelledData


def write(folder: Path, rating: int, texts: list[str]) -> None:
    """Write a folder of the dataset in which every text is about another film."""
    folder.mkdir(parents=True)
    for n, text in enumerate(texts):
        (folder / f"{n}_{rating}.txt").write_text(text)
    urls = "".join(f"http://www.imdb.com/title/tt{n:04}/\n" for n in range(len(texts)))
    (folder.parent / f"urls_{folder.name}.txt").write_text(urls)


def test_unlabelled_texts_exclude_validation_and_test_set(tmp_path: Path) -> None:
    for part in ("train", "test"):
        write(tmp_path / part / "neg", 3, [f"{part} bad {n}" for n in range(10)])
        write(tmp_path / part / "pos", 8, [f"{part} good {n}" for n in range(10)])
    split, _ = LabelledData(tmp_path).for_training()
    validation, training = split.validation[0].text, split.train[0].text
    unsup = ["new", validation, "test good 4", training, "new", "newer"]
    write(tmp_path / "train" / "unsup", 0, unsup)
    assert LabelledData(tmp_path).unlabelled_texts() == ["new", training, "newer"]
