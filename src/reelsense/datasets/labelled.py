"""The reviews of a `--data PATH`: the Large Movie Review Dataset or your own table."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from reelsense.datasets import imdb
from reelsense.datasets.reviews import Review, Split, labels_of, split_validation
from reelsense.errors import DatasetError
from reelsense.prediction import UNSURE
from reelsense.tables import delimited
from reelsense.tables.delimited import Row, rows, text_lines


@dataclass(frozen=True, slots=True)
class LabelledData:
    """A source of labelled reviews. The columns apply to tables only."""

    path: Path
    text_column: str = "text"
    label_column: str = "label"

    @property
    def is_imdb(self) -> bool:
        """Whether this is the Large Movie Review Dataset."""
        return self.path.suffix.lower() not in delimited.SUFFIXES

    @property
    def name(self) -> str:
        """Name of the data set."""
        return imdb.NAME if self.is_imdb else self.path.name

    @property
    def default_part(self) -> str:
        """The part that is evaluated by default."""
        return "test" if self.is_imdb else "all"

    def title(self, part: str) -> str:
        """Return the name of a part of the data set."""
        if part == "all":
            return self.name
        titles = {"validation": "the validation set of", "test": "the official test set of"}
        return f"{titles.get(part, f'the {part} part of')} {self.name}"

    def for_training(self) -> tuple[Split, list[str]]:
        """Return training and validation set, split by group, and the labels in order.

        Raises DatasetError if there are too few reviews or labels, or a label has a reserved name.
        """
        if self.is_imdb:
            reviews, labels = imdb.read_split(self.path, "train"), list(imdb.LABELS)
        else:
            reviews = self._table()
            labels = labels_of(reviews)
        if len(labels) < 2:
            raise DatasetError(
                f"{self.path} has the labels {labels}: expected two or more", code="too-few-labels"
            )
        if UNSURE in labels:
            raise DatasetError(
                f"{self.path}: the label {UNSURE!r} is reserved: rename it", code="reserved-label"
            )
        split = split_validation([review for review in reviews if review.label is not None])
        if not (split.train and split.validation):
            raise DatasetError(
                f"{self.path} has too few distinct reviews for a validation set: add reviews",
                code="too-few-reviews",
            )
        return split, labels

    def unlabelled_texts(self) -> list[str]:
        """Return the texts without labels, except held-out ones."""
        if not self.is_imdb:
            return [review.text for review in self._table() if review.label is None]
        held_out = self.held_out_texts()
        texts = dict.fromkeys(review.text for review in imdb.read_split(self.path, "unsup"))
        return [text for text in texts if text not in held_out]

    def held_out_texts(self) -> set[str]:
        """Return the texts of the validation set and the official test set."""
        split, _ = self.for_training()
        test = imdb.read_split(self.path, "test") if self.is_imdb else []
        return {review.text for review in [*split.validation, *test]}

    def training_texts(self) -> frozenset[str]:
        """Return the texts of the official training part, validation set included."""
        return frozenset(review.text for review in imdb.read_split(self.path, "train"))

    def part(self, name: str) -> list[Review]:
        """Return "train", "validation", "test" (the official one) or, of a table, "all"."""
        if name == "test":
            if not self.is_imdb:
                raise DatasetError(
                    f"{self.path} has no test part: use --split all on a file of test data",
                    code="no-such-part",
                )
            return imdb.read_split(self.path, "test")
        if name == "all":
            if self.is_imdb:
                raise DatasetError(
                    "--split all is for tables: use train, validation or test", code="no-such-part"
                )
            return self._table()
        split, _ = self.for_training()
        return split.train if name == "train" else split.validation

    def _table(self) -> list[Review]:
        return read_table(self.path, self.text_column, self.label_column)


def read_table(path: Path, text_column: str = "text", label_column: str = "label") -> list[Review]:
    """Read the reviews of a .csv, .tsv or .jsonl file in order.

    Rows with the same text form one group; a blank label means no label. Raises DatasetError if the
    file cannot be read or a row is invalid.
    """
    try:
        with path.open("rb") as raw, text_lines(raw) as file:
            table = rows(file, path.suffix.lower(), name=str(path))
            return [_review(row, path, text_column, label_column) for row in table]
    except OSError as error:
        raise DatasetError(f"cannot read {path}: {error.strerror}", code="unreadable") from error


def _review(row: Row, path: Path, text_column: str, label_column: str) -> Review:
    where = f"{path}, line {row.line}"
    if row.error:
        raise DatasetError(f"{where}: {row.error}")
    for column in (text_column, label_column):
        if column not in row.values:
            columns = ", ".join(row.values)
            raise DatasetError(
                f"{where}: no column {column!r} among {columns}: pass --text-column and "
                "--label-column",
                code="no-such-column",
            )
    text, label = row.values[text_column], row.values[label_column]
    if not isinstance(text, str):
        raise DatasetError(f"{where}: {text_column!r} is {json.dumps(text)[:40]}: expected a text")
    if not text.strip():
        raise DatasetError(f"{where}: {text_column!r} is blank")
    if not isinstance(label, str | int | None):
        raise DatasetError(
            f"{where}: {label_column!r} is {json.dumps(label)[:40]}: expected a label"
        )
    name = "" if label is None else str(label).strip()
    return Review(f"{path.name}:{row.line}", text, name or None, None, group=text)
