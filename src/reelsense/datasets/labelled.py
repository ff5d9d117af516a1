"""The reviews of a `--data PATH`: the Large Movie Review Dataset or your own table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from reelsense.datasets import imdb
from reelsense.datasets.labelled_table import Labels, read_table
from reelsense.datasets.reviews import (
    VALIDATION_SHARE,
    Review,
    Split,
    labels_of,
    split_stratified,
    split_validation,
    text_key,
)
from reelsense.errors import DatasetError
from reelsense.prediction import UNSURE
from reelsense.tables.reading import ReadOptions, is_table


@dataclass(frozen=True)
class LabelledData:
    """A source of labelled reviews. All but the path applies to tables only."""

    path: Path
    text_column: str | None = None  # None: the one with a usual name
    label_column: str | None = None
    options: ReadOptions = field(default_factory=ReadOptions)
    labels: Labels = field(default_factory=Labels)
    max_bad_rows: float = 0.01  # share of rows without a usable text or label
    validation_share: float | None = None  # None: see `split_stratified`
    group_column: str | None = None  # whose values are in one part only; None: texts are
    on_message: Callable[[str], object] = lambda _: None

    @property
    def is_imdb(self) -> bool:
        """Whether this is the Large Movie Review Dataset."""
        return not (self.options.input_format or is_table(self.path.name))

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

    def split_as(self, recipe: Mapping[str, Any]) -> LabelledData:
        """Return this source with the validation set of a checkpoint's or bundle's `recipe`."""
        return replace(
            self,
            validation_share=recipe.get("validation_share") or None,
            group_column=recipe.get("group_column") or None,
        )

    def labelled(self) -> list[Review]:
        """Return all reviews with a label, except official test data."""
        reviews = self._official_train if self.is_imdb else self._table
        return [review for review in reviews if review.label is not None]

    def for_training(self) -> tuple[Split, list[str]]:
        """Return training and validation set, split by group, and the labels in order.

        With a group column, a text can be in several groups: it is in the validation set only.

        Raises DatasetError if there are too few reviews or labels, or a label has a reserved name.
        """
        reviews = self.labelled()
        labels = list(imdb.LABELS) if self.is_imdb else labels_of(reviews)
        if len(labels) < 2:
            raise DatasetError(
                f"{self.path} has the labels {labels}: expected two or more", code="too-few-labels"
            )
        if UNSURE in labels:
            raise DatasetError(
                f"{self.path}: the label {UNSURE!r} is reserved: rename it", code="reserved-label"
            )
        if self.is_imdb and self.group_column:
            raise DatasetError(
                f"--group-column {self.group_column} is for tables: {imdb.NAME} is split by film",
                code="no-such-column",
            )
        if self.is_imdb:
            split = split_validation(reviews, self.validation_share or VALIDATION_SHARE)
        else:
            split = split_stratified(reviews, self.validation_share)
        if self.group_column:
            held_out = {text_key(review.text) for review in split.validation}
            train = [review for review in split.train if text_key(review.text) not in held_out]
            split = replace(split, train=train)
        if not (split.train and split.validation):
            raise DatasetError(
                f"{self.path} has too few distinct reviews or groups for a validation set",
                code="too-few-reviews",
            )
        return split, labels

    def unlabelled_texts(self) -> list[str]:
        """Return the texts without labels, except held-out ones."""
        if not self.is_imdb:
            return [review.text for review in self._table if review.label is None]
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
        return frozenset(review.text for review in self._official_train)

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
            return self._table
        split, _ = self.for_training()
        return split.train if name == "train" else split.validation

    @cached_property
    def _official_train(self) -> list[Review]:
        return imdb.read_split(self.path, "train")

    @cached_property
    def _table(self) -> list[Review]:
        return read_table(
            self.path,
            self.text_column,
            self.label_column,
            self.options,
            self.labels,
            self.max_bad_rows,
            self.on_message,
            self.group_column,
        )
