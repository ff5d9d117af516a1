"""The texts that a stage learns from, by the names that a recipe uses for them.

- **reviews**: the labelled reviews of the training set.
- **unlabelled**: reviews without labels, which only teachers can label.
- **edited**: reviews that people edited to turn their sentiment (CAD), with the originals.
- **sentences**, **phrases**: single sentences of SST-2, and all of its phrases.
- **extra**: files given on the command line.

Texts of the validation set and of the test set are left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from random import Random

from reelsense.datasets.evaluation_sets import SENTENCES, TrainingSets, read_training_sets
from reelsense.datasets.reviews import Split
from reelsense.datasets.sources import Source
from reelsense.errors import TrainingError
from reelsense.review import clean
from reelsense.training.examples import Example, hard_examples, read_examples
from reelsense.training.recipe import Stage
from reelsense.training.teachers import LogitStore

UNLABELLED = "unlabelled reviews, labelled by a teacher"


@dataclass
class TrainingData:
    """Where the texts of all stages come from."""

    source: Source
    evaluation_sets: Path | None = None
    extra: Sequence[Path] = ()

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
        loaders: dict[str, Callable[[], list[Example]]] = {
            "reviews": lambda: hard_examples(self.split.train, self.labels),
            "unlabelled": self._unlabelled,
            "edited": self._edited,
            "sentences": lambda: self._sentences(whole=True),
            "phrases": lambda: self._sentences(whole=False),
            "extra": self._extra,
        }
        return loaders[name]()

    def _unlabelled(self) -> list[Example]:
        unknown = (1 / len(self.labels),) * len(self.labels)
        return [
            Example(text, unknown, source=UNLABELLED) for text in self.source.unlabelled_texts()
        ]

    def _edited(self) -> list[Example]:
        """Edited reviews and their originals, but for those of texts that are kept apart.

        Texts that differ in no letter or digit count as the same.
        """
        edited = self._sets.edited
        avoided = set(map(_letters, self.source.texts_kept_apart()))
        halves = [
            half
            for original, edit in zip(edited.originals, edited.edits, strict=True)
            if _letters(original.text) not in avoided
            for half in (original, edit)
        ]
        return hard_examples(halves, self.labels, edited.name)

    def _sentences(self, *, whole: bool) -> list[Example]:
        sentences = self._sets.sentences
        if whole:
            texts = whole_sentences([review.text for review in sentences])
            sentences = [review for review in sentences if review.text in texts]
        return hard_examples(sentences, self.labels, SENTENCES)

    def _extra(self) -> list[Example]:
        if not self.extra:
            raise TrainingError('the recipe learns from "extra": pass a file as --extra-data')
        return [example for path in self.extra for example in read_examples(path, self.labels)]

    @cached_property
    def _sets(self) -> TrainingSets:
        if self.evaluation_sets is None:
            raise TrainingError(
                "the recipe learns from edited reviews or sentences: pass their folder as "
                "--evaluation-sets (`reelsense data fetch evaluation-sets` makes it)"
            )
        return read_training_sets(self.evaluation_sets)


def whole_sentences(phrases: Sequence[str]) -> set[str]:
    """Return those of `phrases` that are not part of a longer one."""
    joined = "\n".join(f" {text.strip()} " for text in dict.fromkeys(phrases))
    return {text for text in phrases if joined.count(f" {text.strip()} ") == 1}


def stage_examples(
    stage: Stage, data: TrainingData, store: LogitStore | None = None
) -> list[Example]:
    """Return the examples of `stage`, each as often as an epoch has it.

    Args:
        stage: Names what to learn from, and how often.
        data: Where it comes from.
        store: Logits of teachers; required for "unlabelled".
    """
    names = dict(stage.data)
    if data.extra:
        names.setdefault("extra", 1.0)
    examples = []
    for name, times in names.items():
        found = data.examples(name)
        if store is not None:
            found = [_taught(example, store, unlabelled=name == "unlabelled") for example in found]
        elif name == "unlabelled":
            raise TrainingError('"unlabelled" needs teachers: the stage must be of kind "distill"')
        whole, part = divmod(times, 1)
        examples += found * int(whole)
        examples += Random(stage.seed).sample(found, round(part * len(found)))
    return examples


def _taught(example: Example, store: LogitStore, *, unlabelled: bool) -> Example:
    """Return `example` with the logits of the teacher, who also labels what has no label."""
    logits = store.get(example.text)
    if not (unlabelled and logits):
        return replace(example, teacher=logits)
    return replace(example, teacher=logits, target=_softmax(logits[: len(store.labels)]))


def _softmax(logits: Sequence[float]) -> tuple[float, ...]:
    powers = [2.718281828459045 ** (value - max(logits)) for value in logits]
    return tuple(power / sum(powers) for power in powers)


def _letters(text: str) -> str:
    return re.sub(r"[\W_]+", "", clean(text).lower())
