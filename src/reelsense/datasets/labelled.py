"""From a `--data PATH` to labelled reviews: the Large Movie Review Dataset or the user's table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from reelsense.datasets import imdb
from reelsense.datasets.labelled_tables import read_table
from reelsense.datasets.reviews import Review, Split, labels_of, split_validation
from reelsense.errors import DatasetError
from reelsense.prediction import UNSURE
from reelsense.tables import delimited


@dataclass(frozen=True, slots=True)
class LabelledData:
    """Where labelled reviews come from. The columns matter for tables alone."""

    path: Path
    text_column: str = "text"
    label_column: str = "label"

    @property
    def _is_table(self) -> bool:
        return self.path.suffix.lower() in delimited.SUFFIXES

    def for_training(self) -> tuple[Split, list[str]]:
        """Return what to train on, split by group, and the labels in order."""
        if self._is_table:
            reviews = self._table()
            labels = labels_of(reviews)
        else:
            reviews, labels = imdb.read_split(self.path, "train"), list(imdb.LABELS)
        if len(labels) < 2:
            raise DatasetError(f"{self.path}: two labels at least are needed, found {labels}")
        if UNSURE in labels:
            raise DatasetError(f"{self.path}: no label can be {UNSURE!r}, which is a verdict")
        split = split_validation([review for review in reviews if review.label is not None])
        if not (split.train and split.validation):
            raise DatasetError(f"{self.path}: too few distinct reviews to hold any out")
        return split, labels

    @property
    def usual_part(self) -> str:
        """The part that a measurement is taken on unless told otherwise."""
        return "all" if self._is_table else "test"

    @property
    def is_imdb(self) -> bool:
        """Whether this is the Large Movie Review Dataset."""
        return not self._is_table

    @property
    def name(self) -> str:
        """What this is, for people."""
        return self.path.name if self._is_table else imdb.NAME

    def title(self, part: str) -> str:
        """What `part` of it is, for people."""
        if part == "all":
            return self.name
        words = {"validation": "the validation set of", "test": "the official test part of"}
        return f"{words.get(part, f'the {part} part of')} {self.name}"

    def unlabelled_texts(self) -> list[str]:
        """Return the texts without labels, but those that are held out or in the test part too."""
        if self._is_table:
            return [review.text for review in self._table() if review.label is None]
        known = self.texts_kept_apart()
        texts = dict.fromkeys(review.text for review in imdb.read_split(self.path, "unsup"))
        return [text for text in texts if text not in known]

    def texts_kept_apart(self) -> set[str]:
        """Return the texts that nothing may be learned from: held out, or in the test part."""
        split, _ = self.for_training()
        test = [] if self._is_table else imdb.read_split(self.path, "test")
        return {review.text for review in [*split.validation, *test]}

    def training_texts(self) -> frozenset[str]:
        """Return the texts of the dataset's official train part, held-out ones included."""
        return frozenset(review.text for review in imdb.read_split(self.path, "train"))

    def part(self, name: str) -> list[Review]:
        """Return "train", "validation", "test" (the official one) or, of a table, "all"."""
        if name == "test" and self._is_table:
            raise DatasetError(f"{self.path} has no test part: pass its file alone, --split all")
        if name == "test":
            return imdb.read_split(self.path, "test")
        if name == "all" and not self._is_table:
            raise DatasetError("--split all is for tables; of the dataset, name a part")
        if name == "all":
            return self._table()
        split, _ = self.for_training()
        return split.train if name == "train" else split.validation

    def _table(self) -> list[Review]:
        return read_table(self.path, self.text_column, self.label_column)
