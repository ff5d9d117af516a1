"""Make examples to learn from beside the labelled reviews: with a teacher, and from other sets.

- **Unlabelled reviews**: the student learns the probabilities that a teacher gives them (Hinton et
  al. 2015, "Distilling the Knowledge in a Neural Network").
- **Words of identity**: of sentences in which only such a word is swapped, each gets the mean of
  the teacher's probabilities over all of the words, so that the student learns to pass over it
  (counterfactual augmentation, as in Garg et al. 2019).
- **Edited reviews** (CAD) and **single sentences** (SST-2), with their own labels.

The teacher's answers are kept beside the file that is made, so that an interrupted run goes on.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Sequence
from itertools import islice
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from reelsense import review
from reelsense.datasets.evaluation_sets import SENTENCES, TrainingSets
from reelsense.datasets.reviews import Review
from reelsense.errors import TrainingError
from reelsense.evaluation.fairness import SwapSet, sentence_sets, template_set
from reelsense.evaluation.identities import CATEGORIES
from reelsense.evaluation.scorer import Scorer
from reelsense.files import write_atomically
from reelsense.training.examples import Example, hard_examples
from reelsense.training.templates import ADJECTIVES, NOUNS

UNLABELLED = "unlabelled reviews, labelled by a teacher"
SWAPPED = "sentences with swapped words of identity"

_STEP = 256

IDENTITY_SETS = 600
"""The most sets of sentences from reviews, and of templates, of one category."""


def outside_examples(
    sets: TrainingSets, labels: Sequence[str], held_out: Collection[str]
) -> list[Example]:
    """Return single sentences, and edited reviews but those of the texts that are `held_out`.

    Texts that differ in no letter or digit count as the same.
    """
    avoided = set(map(_letters, held_out))
    edited = [
        half
        for original, edit in zip(sets.edited.originals, sets.edited.edits, strict=True)
        if _letters(original.text) not in avoided
        for half in (original, edit)
    ]
    return [
        *hard_examples(edited, labels, sets.edited.name),
        *hard_examples(sets.sentences, labels, SENTENCES),
    ]


def unlabelled_examples(
    teachers: Sequence[Scorer], texts: Sequence[str], kept: Path
) -> list[Example]:
    """Return `texts` with the mean of what the `teachers` say; their answers are kept at `kept`."""
    targets = _teach(teachers, texts, kept)
    return [
        Example(text, _rounded(row), source=UNLABELLED)
        for text, row in zip(texts, targets, strict=True)
    ]


def identity_examples(
    teachers: Sequence[Scorer], reviews: Iterable[Review], kept: Path, most: int = IDENTITY_SETS
) -> list[Example]:
    """Return sets of sentences that differ in a word of identity, each set with one target.

    Of each category at most `most` sets come from `reviews`, and as many from templates.
    """
    seen: set[str] = set()  # a text may stand in the sets of two categories: it gets one target
    sets = _identity_sets([each.text for each in reviews], most)
    texts = [text for each in sets for text in each.values()]
    rows = iter(_teach(teachers, texts, kept))
    examples = []
    for each in sets:
        target = _rounded(np.mean(list(islice(rows, len(each))), axis=0))
        examples += [
            Example(text, target, source=SWAPPED) for text in each.values() if text not in seen
        ]
        seen.update(each.values())
    return examples


def _identity_sets(texts: Sequence[str], most: int) -> list[SwapSet]:
    random = Random(0)
    sets: list[SwapSet] = []
    found = sentence_sets(texts)
    for category in CATEGORIES:
        of_reviews = found[category.name]
        sets += random.sample(of_reviews, min(most, len(of_reviews)))
        templates = ADJECTIVES if category.nouns else NOUNS
        chosen = random.sample(templates, min(most, len(templates)))
        sets += [template_set(template, category.words) for template in chosen]
    return sets


def _teach(
    teachers: Sequence[Scorer], texts: Sequence[str], kept: Path
) -> list[NDArray[np.float64]]:
    """The mean answer to each of `texts`; goes on behind the answers that `kept` holds."""
    answers = _answers(kept, texts)
    with (
        kept.open("a", encoding="utf-8") as file,
        tqdm(total=len(texts), initial=len(answers), desc="teacher", unit=" texts") as bar,
    ):
        while len(answers) < len(texts):
            some = texts[len(answers) : len(answers) + _STEP]
            table = np.mean([teacher.predict_proba(some) for teacher in teachers], axis=0)
            file.write("".join(json.dumps(row) + "\n" for row in table.tolist()))
            file.flush()
            answers += list(table)
            bar.update(len(some))
    return answers


def _answers(kept: Path, texts: Sequence[str]) -> list[NDArray[np.float64]]:
    """The answers in `kept`, below a line that tells the `texts`; a torn last one is dropped.

    A file that is not there is begun.
    """
    digest = hashlib.sha256(json.dumps(list(texts)).encode()).hexdigest()
    if not kept.exists():
        write_atomically(kept, digest + "\n")
    whole, _, _ = kept.read_text(encoding="utf-8").rpartition("\n")
    first, *lines = whole.split("\n")
    try:
        answers = [np.array(json.loads(line), dtype=np.float64) for line in lines]
    except ValueError as error:
        raise TrainingError(f"{kept} is damaged: delete it") from error
    if first != digest:
        raise TrainingError(f"{kept} holds the answers to other texts: delete it")
    write_atomically(kept, whole + "\n")
    return answers


def _letters(text: str) -> str:
    return re.sub(r"[\W_]+", "", review.clean(text).lower())


def _rounded(row: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(round(float(value), 5) for value in row)
