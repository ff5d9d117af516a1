"""Errors on template sentences that test one behaviour each, such as negation or emoji.

The sentences are the measuring half of `datasets.behaviours`: no model is trained on their
templates and words. Sentences with an opinion should get their label; sentences without one should
be "unsure".
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reelsense.bundle import LengthGroup
from reelsense.datasets.behaviours import NEUTRAL, BehaviourSentences, behaviour_sentences
from reelsense.evaluation.metrics import share_of
from reelsense.evaluation.scorer import Scorer, answer, likeliest_labels
from reelsense.inference.calibration import group_numbers
from reelsense.report.results import BehaviourErrors, Behaviours, NeutralSentences

PER_LABEL = 150
"""Sentences per label of a behaviour."""

TARGET = 0.08
"""Maximum share of errors, for the behaviours that have a target."""

TARGET_ERROR_RATE = 0.02
"""Target error rate at which sentences without an opinion should be "unsure"."""

_WITH_TARGET = frozenset(
    {"negation", "double negation", "expectation", "reported", "then and now", "question"}
)


def measure_behaviours(scorer: Scorer, groups: Sequence[LengthGroup]) -> Behaviours:
    """Measure `scorer`, which needs the labels "negative" and "positive".

    Args:
        scorer: The classifier.
        groups: Its length groups. Neutral sentences are measured if these have thresholds.
    """
    behaviours = behaviour_sentences("measuring", PER_LABEL)
    has_thresholds = any(group.thresholds for group in groups)
    return Behaviours(
        errors=[_errors(scorer, behaviour) for behaviour in behaviours if not _neutral(behaviour)],
        neutral=[
            _measure_neutral(scorer, behaviour, groups)
            for behaviour in behaviours
            if _neutral(behaviour) and has_thresholds
        ],
    )


def _neutral(behaviour: BehaviourSentences) -> bool:
    return all(sentence.label == NEUTRAL for sentence in behaviour.sentences)


def _errors(scorer: Scorer, behaviour: BehaviourSentences) -> BehaviourErrors:
    texts = [sentence.text for sentence in behaviour.sentences]
    targets = np.array([sentence.label for sentence in behaviour.sentences])
    wrong = likeliest_labels(scorer, texts, behaviour.name) != targets
    return BehaviourErrors(
        name=behaviour.name,
        description=behaviour.about,
        errors=share_of(wrong),
        on_positive=share_of(wrong[targets == "positive"]),
        on_negative=share_of(wrong[targets == "negative"]),
        target=TARGET if behaviour.name in _WITH_TARGET else None,
    )


def _measure_neutral(
    scorer: Scorer, behaviour: BehaviourSentences, groups: Sequence[LengthGroup]
) -> NeutralSentences:
    texts = [sentence.text for sentence in behaviour.sentences]
    answers = answer(scorer, texts, behaviour.name)
    thresholds = [group.threshold(TARGET_ERROR_RATE) for group in groups]
    minimum = np.array([np.inf if value is None else value for value in thresholds])
    numbers = group_numbers(groups, answers.tokens) if answers.tokens is not None else -1
    decided = answers.probabilities.max(axis=1) >= minimum[numbers]
    positive = answers.probabilities.argmax(axis=1) == scorer.labels.index("positive")
    return NeutralSentences(
        name=behaviour.name,
        description=behaviour.about,
        unsure=share_of(~decided),
        positive=share_of(decided & positive),
    )
