"""How a model answers sentences that test one behaviour each: negation, ratings, emoji and others.

The sentences are the measuring half of `datasets.behaviours`: other templates and other words than
any model is trained on. Sentences with an opinion should get their label; sentences without one
should be "unsure".

Knows texts and a `Scorer`; knows no files and no models.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reelsense.bundle import RiskControl
from reelsense.datasets.behaviours import NEUTRAL, BehaviourSentences, behaviour_sentences
from reelsense.evaluation.metrics import Share, share
from reelsense.evaluation.scorer import Scorer, score
from reelsense.inference.calibration import default_threshold

PER_LABEL = 150
"""Sentences of each label of a behaviour."""

TARGET = 0.08
"""The most wrong labels of a behaviour that has a target."""

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
    """How many sentences without an opinion are "unsure" at the default target error rate."""

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


def measure_behaviours(scorer: Scorer, control: RiskControl | None) -> Behaviours:
    """Measure `scorer`, which has the labels "negative" and "positive" and thresholds `control`."""
    measured = behaviour_sentences("measuring", PER_LABEL)
    return Behaviours(
        errors=[_errors(scorer, each) for each in measured if not _is_neutral(each)],
        neutral=[_neutral(scorer, each, control) for each in measured if _is_neutral(each)]
        if control
        else [],
    )


def _is_neutral(behaviour: BehaviourSentences) -> bool:
    return all(sentence.label == NEUTRAL for sentence in behaviour.sentences)


def _errors(scorer: Scorer, behaviour: BehaviourSentences) -> BehaviourErrors:
    texts = [sentence.text for sentence in behaviour.sentences]
    wanted = np.array([sentence.label for sentence in behaviour.sentences])
    wrong = np.array(scorer.labels)[score(scorer, texts, behaviour.name).argmax(axis=1)] != wanted

    def among(label: str) -> Share:
        return share(int((wrong & (wanted == label)).sum()), int((wanted == label).sum()))

    return BehaviourErrors(
        name=behaviour.name,
        about=behaviour.about,
        errors=share(int(wrong.sum()), len(texts)),
        on_positive=among("positive"),
        on_negative=among("negative"),
        target=TARGET if behaviour.name in _WITH_TARGET else None,
    )


def _neutral(
    scorer: Scorer, behaviour: BehaviourSentences, control: RiskControl
) -> NeutralSentences:
    texts = [sentence.text for sentence in behaviour.sentences]
    probabilities = score(scorer, texts, behaviour.name)
    threshold = default_threshold(control)
    decided = probabilities.max(axis=1) >= (np.inf if threshold is None else threshold)
    positive = probabilities.argmax(axis=1) == scorer.labels.index("positive")
    return NeutralSentences(
        name=behaviour.name,
        about=behaviour.about,
        unsure=share(int((~decided).sum()), len(texts)),
        positive=share(int((decided & positive).sum()), len(texts)),
    )
