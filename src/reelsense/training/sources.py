"""The texts that a stage learns from, by the names that a recipe uses for them.

- **reviews**: the labelled reviews of the training set.
- **unlabelled**: reviews without labels, which only teachers can label.
- **edited**: reviews that people edited to turn their sentiment (CAD), with the originals.
- **sentences**, **phrases**: single sentences of SST-2, or all of its phrases.
- **behaviours**: sentences that show how negation, ratings, slang, emoji and others are meant.
- **noisy**: reviews, sentences and behaviours with typing errors, links, repetition and the like.
- **identity**: sets of sentences that differ in an identity term and share the mean of what the
  teacher says of them.
- **extra**: files given on the command line.

Texts of the validation set and of the test set are left out, and so are the validation sentences.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from random import Random

import numpy as np

from reelsense.datasets.evaluation_sets import (
    PHRASES,
    SENTENCES,
    TrainingSets,
    read_training_sets,
)
from reelsense.datasets.labelled import LabelledData
from reelsense.datasets.reviews import Split
from reelsense.errors import TrainingError
from reelsense.inference.calibration import probabilities
from reelsense.text.clean import clean
from reelsense.training.augment import behaviour_examples, identity_sets, noisy
from reelsense.training.examples import Example, hard_examples, read_examples
from reelsense.training.recipe import Stage
from reelsense.training.teachers import LogitStore

UNLABELLED = "unlabelled reviews, labelled by a teacher"
IDENTITY = "sentences with swapped identity terms, labelled by a teacher"
NOISY = "texts with noise"

_IDENTITY_SETS = 250
"""Maximum number of sets of each category from templates, and as many from reviews."""

_TAUGHT = {"unlabelled", "identity"}
"""Sources without labels: only a teacher can label them."""

_KNOWN = {"behaviours"}
"""Sources whose labels are certain by construction: no teacher is asked."""


@dataclass
class TrainingData:
    """Where the texts of all stages come from."""

    source: LabelledData
    evaluation_sets: Path | None = None
    extra: Sequence[Path] = ()
    _loaded: dict[str, list[Example]] = field(default_factory=dict, init=False, repr=False)
    """Examples by source: several stages need the same ones, and each stage needs them twice."""

    @cached_property
    def split(self) -> Split:
        """The labelled reviews: training set and validation set."""
        return self._split_and_labels[0]

    @cached_property
    def labels(self) -> list[str]:
        """Names of the labels, in the order of the model's outputs."""
        return self._split_and_labels[1]

    @cached_property
    def _split_and_labels(self) -> tuple[Split, list[str]]:
        return self.source.for_training()

    def unlabelled_texts(self) -> list[str]:
        """Return the texts for pre-training: those of the training set and the unlabelled ones."""
        return list(
            dict.fromkeys(
                [*(review.text for review in self.split.train), *self.source.unlabelled_texts()]
            )
        )

    def examples(self, name: str) -> list[Example]:
        """Return the examples called `name`, without logits of a teacher.

        Raises:
            TrainingError: They need evaluation sets or extra files that were not given.
        """
        if name not in self._loaded:
            self._loaded[name] = self._load(name)
        return self._loaded[name]

    def _load(self, name: str) -> list[Example]:
        loaders: dict[str, Callable[[], list[Example]]] = {
            "reviews": lambda: hard_examples(self.split.train, self.labels),
            "unlabelled": self._unlabelled,
            "edited": self._edited,
            "sentences": lambda: self._sentences(phrases=False),
            "phrases": lambda: self._sentences(phrases=True),
            "behaviours": lambda: behaviour_examples(self.labels),
            "noisy": self._noisy,
            "identity": self._identity,
            "extra": self._extra,
        }
        return loaders[name]()

    @property
    def _unknown(self) -> tuple[float, ...]:
        return (1 / len(self.labels),) * len(self.labels)

    def _unlabelled(self) -> list[Example]:
        return [
            Example(text, self._unknown, source=UNLABELLED)
            for text in self.source.unlabelled_texts()
        ]

    def _noisy(self) -> list[Example]:
        random = Random(0)
        texts = [*self.examples("reviews"), *self.examples("behaviours")]
        if self.evaluation_sets:
            texts += self.examples("sentences")
        return [
            replace(example, text=text, source=NOISY, taught_by=(example.text,))
            for example in texts
            if (text := noisy(example.text, random)) != example.text  # some are too short
        ]

    def _identity(self) -> list[Example]:
        reviews = (review.text for review in self.split.train)
        return [
            Example(text, self._unknown, source=IDENTITY, taught_by=tuple(texts))
            for texts in identity_sets(reviews, _IDENTITY_SETS)
            for text in texts
        ]

    def _edited(self) -> list[Example]:
        """Edited reviews and their originals, but for those of texts that are kept apart.

        Texts that differ in no letter or digit count as the same.
        """
        edited = self._sets().edited
        avoided = set(map(_letters, self.source.texts_kept_apart()))
        halves = [
            half
            for original, edit in zip(edited.originals, edited.edits, strict=True)
            if _letters(original.text) not in avoided
            for half in (original, edit)
        ]
        return hard_examples(halves, self.labels, edited.name)

    def _sentences(self, *, phrases: bool) -> list[Example]:
        sentences = self._sets(phrases=phrases).sentences
        return hard_examples(sentences, self.labels, PHRASES if phrases else SENTENCES)

    def _extra(self) -> list[Example]:
        if not self.extra:
            raise TrainingError('the recipe learns from "extra": pass a file as --extra-data')
        return [example for path in self.extra for example in read_examples(path, self.labels)]

    def _sets(self, *, phrases: bool = False) -> TrainingSets:
        if self.evaluation_sets is None:
            raise TrainingError(
                "the recipe learns from edited reviews or sentences: pass their folder as "
                "--evaluation-sets (`reelsense data fetch evaluation-sets` makes it)"
            )
        return read_training_sets(self.evaluation_sets, phrases=phrases)


def texts_to_score(stage: Stage, data: TrainingData) -> list[str]:
    """Return the texts whose teacher logits the examples of `stage` need."""
    return [
        text
        for name in _names(stage, data)
        if name not in _KNOWN
        for example in data.examples(name)
        for text in example.taught_by or (example.text,)
    ]


def _names(stage: Stage, data: TrainingData) -> dict[str, float]:
    """Return what `stage` learns from, and how often; files on the command line once."""
    extra = {"extra": stage.data.get("extra", 1.0)} if data.extra else {}
    return stage.data | extra


def stage_examples(
    stage: Stage, data: TrainingData, store: LogitStore | None = None
) -> list[Example]:
    """Return the examples of `stage`, each as often as an epoch has it.

    Args:
        stage: Names what to learn from, and how often.
        data: Where it comes from.
        store: Logits of teachers; required for sources without labels.
    """
    examples: list[Example] = []
    for name, times in _names(stage, data).items():
        found = data.examples(name)
        if store is None and name in _TAUGHT:
            raise TrainingError(f'"{name}" needs teachers: the stage must be of kind "distill"')
        if store is not None and name not in _KNOWN:
            found = [_taught(example, store, unlabelled=name in _TAUGHT) for example in found]
        whole, part = divmod(times, 1)
        examples += found * int(whole)
        examples += Random(stage.seed).sample(found, round(part * len(found)))
    return examples


def _taught(example: Example, store: LogitStore, *, unlabelled: bool) -> Example:
    """Return `example` with the logits of the teacher, who also labels what has no label."""
    rows = [row for text in example.taught_by or (example.text,) if (row := store.get(text))]
    logits = tuple(sum(column) / len(rows) for column in zip(*rows, strict=True))
    if not (unlabelled and logits):
        return replace(example, teacher=logits)
    [target] = probabilities(np.array([logits[: len(store.labels)]])).tolist()
    return replace(example, teacher=logits, target=tuple(target))


def _letters(text: str) -> str:
    return re.sub(r"[\W_]+", "", clean(text).lower())
