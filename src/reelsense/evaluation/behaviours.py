"""How a model answers sentences that test one behaviour each: negation, ratings, emoji and others.

The sentences are the measuring half of `datasets.behaviours`: other templates and other words than
any model is trained on. Sentences with an opinion should get their label; sentences without one
should be "unsure".

Knows texts and a `Scorer`; knows no files and no models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reelsense.bundle import LengthGroup
from reelsense.datasets.behaviours import NEUTRAL, BehaviourSentences, behaviour_sentences
from reelsense.evaluation.metrics import Share, share
from reelsense.evaluation.scorer import Scorer, answer, score
from reelsense.inference.calibration import group_numbers

PER_LABEL = 150
"""Sentences of each label of a behaviour."""

TARGET = 0.08
"""The most wrong labels of a behaviour that has a target."""

TARGET_ERROR_RATE = 0.02
"""At which sentences without an opinion should be "unsure"."""

_WITH_TARGET = frozenset(
    {"negation", "double negation", "expectation", "reported", "then and now", "question"}
)


@dataclass(frozen=True, slots=True)
class BehaviourErrors:
    """How many sentences of a behaviour get the wrong label."""

    name: str
    about: str
    """What is tested, with an example."""
    errors: Share
    on_positive: Share
    """Errors among the positive sentences."""
    on_negative: Share
    """Errors among the negative sentences."""
    target: float | None
    """The most that `errors` should be."""


@dataclass(frozen=True, slots=True)
class NeutralSentences:
    """How many sentences without an opinion are "unsure" at TARGET_ERROR_RATE."""

    name: str
    about: str
    unsure: Share
    positive: Share
    """How many get a verdict, and it is "positive"."""


@dataclass(frozen=True, slots=True)
class Behaviours:
    """Everything measured with sentences from templates."""

    errors: list[BehaviourErrors]
    neutral: list[NeutralSentences]
    """Empty for a model without thresholds."""


def measure_behaviours(scorer: Scorer, groups: Sequence[LengthGroup]) -> Behaviours:
    """Measure `scorer`, which has the labels "negative" and "positive" and thresholds by length."""
    measured = behaviour_sentences("measuring", PER_LABEL)
    return Behaviours(
        errors=[_errors(scorer, each) for each in measured if not _is_neutral(each)],
        neutral=[_neutral(scorer, each, groups) for each in measured if _is_neutral(each)]
        if any(group.thresholds for group in groups)
        else [],
    )


def _is_neutral(behaviour: BehaviourSentences) -> bool:
    return all(sentence.label == NEUTRAL for sentence in behaviour.sentences)


def _errors(scorer: Scorer, behaviour: BehaviourSentences) -> BehaviourErrors:
    texts = [sentence.text for sentence in behaviour.sentences]
    targets = np.array([sentence.label for sentence in behaviour.sentences])
    wrong = np.array(scorer.labels)[score(scorer, texts, behaviour.name).argmax(axis=1)] != targets

    def among(label: str) -> Share:
        return share(int((wrong & (targets == label)).sum()), int((targets == label).sum()))

    return BehaviourErrors(
        name=behaviour.name,
        about=behaviour.about,
        errors=share(int(wrong.sum()), len(texts)),
        on_positive=among("positive"),
        on_negative=among("negative"),
        target=TARGET if behaviour.name in _WITH_TARGET else None,
    )


def _neutral(
    scorer: Scorer, behaviour: BehaviourSentences, groups: Sequence[LengthGroup]
) -> NeutralSentences:
    texts = [sentence.text for sentence in behaviour.sentences]
    answers = answer(scorer, texts, behaviour.name)
    thresholds = [group.threshold(TARGET_ERROR_RATE) for group in groups]
    lowest = np.array([np.inf if each is None else each for each in thresholds])
    numbers = group_numbers(groups, answers.tokens) if answers.tokens is not None else -1
    decided = answers.probabilities.max(axis=1) >= lowest[numbers]
    positive = answers.probabilities.argmax(axis=1) == scorer.labels.index("positive")
    return NeutralSentences(
        name=behaviour.name,
        about=behaviour.about,
        unsure=share(int((~decided).sum()), len(texts)),
        positive=share(int((decided & positive).sum()), len(texts)),
    )
