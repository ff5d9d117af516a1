"""The texts that a stage is trained on, by the names that recipes use for them.

- **reviews**: the labelled reviews of the training set.
- **unlabelled**: reviews without labels, which only teachers can label.
- **edited**: counterfactually augmented reviews (CAD), with the originals.
- **sentences**, **phrases**: single sentences of SST-2, or all of its phrases.
- **behaviours**: template sentences for negation, ratings, slang, emoji and others.
- **noisy**: reviews, sentences and behaviours with typing errors, links, repetition and the like.
- **identity**: counterfactual sentences that differ in an identity term and share the mean of
  their teacher logits.
- **extra**: files given on the command line.
- **feedback**: labels that people gave to texts of a running model (`reelsense retrain`).

Texts of the validation set and of the test set are excluded, and so are validation sentences.
Texts with feedback are excluded from all sources but the last, which has those not held out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

import numpy as np

from reelsense.datasets.evaluation_sets import (
    PHRASES,
    SENTENCES,
    TrainingSets,
    read_training_sets,
)
from reelsense.datasets.feedback import HELD_OUT_SHARE, TrainingFeedback
from reelsense.datasets.labelled import LabelledData
from reelsense.datasets.reviews import text_key
from reelsense.errors import InputError, TrainingError
from reelsense.evaluation.predictions import labelled
from reelsense.inference.calibration import probabilities
from reelsense.text.clean import clean
from reelsense.training.augment import behaviour_examples, identity_sets, noisy
from reelsense.training.examples import Example, hard_examples, read_examples
from reelsense.training.recipe import Source, Stage
from reelsense.training.teachers import LogitStore

UNLABELLED = "unlabelled reviews, labelled by a teacher"
FEEDBACK = "feedback"
IDENTITY = "sentences with swapped identity terms, labelled by a teacher"
NOISY = "texts with noise"

_IDENTITY_SETS = 250
"""Maximum number of sets of each category from templates, and as many from reviews."""

_PSEUDO_LABELLED = {"unlabelled", "identity"}
"""Sources without labels: a teacher labels them."""

_WITHOUT_TEACHER = {"behaviours", "feedback"}
"""Sources whose labels are certain, or correct a model: no teacher scores them."""


@dataclass
class TrainingData:
    """The data of all stages. Reads the labelled reviews at once and other sources when needed."""

    source: LabelledData
    evaluation_sets: Path | None = None
    extra: Sequence[Path] = ()
    feedback: TrainingFeedback | None = None
    _loaded: dict[str, list[Example]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        self.split, self.labels = self.source.for_training()
        self._with_feedback = self.feedback.texts if self.feedback else set()
        if self.feedback:
            check_feedback(self.feedback, self.labels)
            train = [review for review in self.split.train if self._lacks_feedback(review.text)]
            self.split = replace(self.split, train=train)

    def _lacks_feedback(self, text: str) -> bool:
        return not self._with_feedback or text_key(text) not in self._with_feedback

    def unlabelled_texts(self) -> list[str]:
        """Return the texts for pre-training: those of the training set and the unlabelled ones."""
        labelled = (review.text for review in self.split.train)
        texts = dict.fromkeys([*labelled, *self.source.unlabelled_texts()])
        return list(filter(self._lacks_feedback, texts))

    def examples(self, name: str) -> list[Example]:
        """Return the examples of the source `name`, without teacher logits.

        Raises TrainingError if the source needs evaluation sets or extra files that were not given.
        """
        if name not in self._loaded:  # stages share them, and each stage needs them twice
            loaded = self._load(name)
            if name != "feedback":
                loaded = [example for example in loaded if self._lacks_feedback(example.text)]
            self._loaded[name] = loaded
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
            "feedback": self._feedback,
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
        examples = [*self.examples("reviews"), *self.examples("behaviours")]
        if self.evaluation_sets:
            examples += self.examples("sentences")
        return [
            replace(example, text=text, source=NOISY, teacher_texts=(example.text,))
            for example in examples
            if (text := noisy(example.text, random)) != example.text  # some are too short
        ]

    def _identity(self) -> list[Example]:
        reviews = (review.text for review in self.split.train)
        return [
            Example(text, self._unknown, source=IDENTITY, teacher_texts=tuple(texts))
            for texts in identity_sets(reviews, _IDENTITY_SETS)
            for text in texts
        ]

    def _edited(self) -> list[Example]:
        """Return edited reviews and their originals, except those of held-out texts.

        Texts with the same letters and digits count as equal.
        """
        edited = self._sets().edited
        held_out = set(map(_letters, self.source.held_out_texts()))
        reviews = [
            review
            for original, edit in zip(edited.originals, edited.edits, strict=True)
            if _letters(original.text) not in held_out
            for review in (original, edit)
        ]
        return hard_examples(reviews, self.labels, edited.name)

    def _sentences(self, *, phrases: bool) -> list[Example]:
        sentences = self._sets(phrases=phrases).sentences
        return hard_examples(sentences, self.labels, PHRASES if phrases else SENTENCES)

    def _extra(self) -> list[Example]:
        if not self.extra:
            raise TrainingError(
                'the recipe uses the source "extra": pass a file as --extra-data',
                code="missing-source",
            )
        return [example for path in self.extra for example in read_examples(path, self.labels)]

    def _feedback(self) -> list[Example]:
        if not self.feedback:
            raise TrainingError(
                'the recipe uses the source "feedback": use `reelsense retrain --feedback FILE`',
                code="missing-source",
            )
        held_out = set(map(text_key, self.source.held_out_texts()))
        rows = [row for row in self.feedback.train if text_key(row.text) not in held_out]
        return hard_examples(rows, self.labels, FEEDBACK)

    def _sets(self, *, phrases: bool = False) -> TrainingSets:
        if self.evaluation_sets is None:
            raise TrainingError(
                "the recipe uses edited reviews or sentences: pass their folder as "
                "--evaluation-sets (`reelsense data fetch evaluation-sets` creates it)",
                code="missing-source",
            )
        return read_training_sets(self.evaluation_sets, phrases=phrases)


def check_feedback(feedback: TrainingFeedback, labels: Sequence[str]) -> None:
    """Raise InputError if there is no feedback to train on, or a label is not one of `labels`."""
    if not feedback.train:
        raise InputError(
            "the feedback has no text to train on: expected rows with a text and a label, of which "
            f"{HELD_OUT_SHARE:.0%} are held out",
            code="no-feedback",
        )
    labelled([*feedback.train, *feedback.held_out], labels)


def texts_to_score(stage: Stage, data: TrainingData) -> list[str]:
    """Return the texts whose teacher logits the examples of `stage` need."""
    return [
        text
        for name in _sources(stage, data)
        if name not in _WITHOUT_TEACHER
        for example in data.examples(name)
        for text in example.scored_texts
    ]


def _sources(stage: Stage, data: TrainingData) -> dict[Source, float]:
    """Return the sources of `stage` and how often an epoch has them; extra files once."""
    extra: dict[Source, float] = {"extra": stage.data.get("extra", 1.0)} if data.extra else {}
    return stage.data | extra


def stage_examples(
    stage: Stage, data: TrainingData, store: LogitStore | None = None
) -> list[Example]:
    """Return the examples of an epoch of `stage`; some are repeated or drawn at random.

    `store` has the teacher logits. Raises TrainingError if a source needs them and there are none,
    or if it needs evaluation sets or extra files.
    """
    examples: list[Example] = []
    for name, times in _sources(stage, data).items():
        source = data.examples(name)
        if store is None and name in _PSEUDO_LABELLED:
            raise TrainingError(
                f'the source "{name}" needs teachers: use kind = "distill"', code="no-teacher"
            )
        if store is not None and name not in _WITHOUT_TEACHER:
            pseudo_label = name in _PSEUDO_LABELLED
            source = [_with_teacher(example, store, pseudo_label) for example in source]
        repeats, share = divmod(times, 1)
        examples += source * int(repeats)
        examples += Random(stage.seed).sample(source, round(share * len(source)))
    return examples


def _with_teacher(example: Example, store: LogitStore, pseudo_label: bool) -> Example:
    """Return `example` with its teacher logits, and with their probabilities as pseudo-label."""
    rows = [row for text in example.scored_texts if (row := store.get(text))]
    logits = tuple(sum(column) / len(rows) for column in zip(*rows, strict=True))
    if not (pseudo_label and logits):
        return replace(example, teacher=logits)
    [target] = probabilities(np.array([logits[: len(store.labels)]])).tolist()
    return replace(example, teacher=logits, target=tuple(target))


def _letters(text: str) -> str:
    return re.sub(r"[\W_]+", "", clean(text).lower())
