"""Robustness: label changes under perturbations, edited reviews and behaviours.

Perturbations and behaviours follow Ribeiro et al. (2020, "Beyond Accuracy: Behavioral Testing of
NLP Models with CheckList").
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import numpy as np

from reelsense.bundle import LengthGroup
from reelsense.datasets.behaviours import NEUTRAL, BehaviourSentences, behaviour_sentences
from reelsense.datasets.reviews import Review
from reelsense.errors import InputError
from reelsense.evaluation.metrics import share_of
from reelsense.evaluation.perturbations import PERTURBATIONS
from reelsense.evaluation.predictions import predict_labelled
from reelsense.evaluation.scorer import Scorer, answer, likeliest_labels, score
from reelsense.evaluation.selective import minimum_scores
from reelsense.inference.calibration import group_numbers
from reelsense.report.results import (
    BehaviourErrors,
    Behaviours,
    LabelChanges,
    NeutralSentences,
    PairAccuracy,
)

SENTENCES_PER_LABEL = 150  # of each behaviour
BEHAVIOUR_TARGET = 0.08  # maximum share of errors, for the behaviours that have a target
TARGET_ERROR_RATE = 0.02  # at which sentences without an opinion should be "unsure"

_WITH_TARGET = {
    "negation",
    "double negation",
    "expectation",
    "reported",
    "then and now",
    "question",
}


def label_changes(scorer: Scorer, texts: Sequence[str], seed: int = 0) -> list[LabelChanges]:
    """Count the labels of `texts` that change under each of `PERTURBATIONS`.

    The perturbation of a text depends on `seed` and its position, not on the other texts.
    """
    original = score(scorer, texts, "originals").argmax(axis=1)
    results = []
    for perturbation in PERTURBATIONS:
        altered = {}
        for n, text in enumerate(texts):
            new = perturbation.change(text, Random(f"{seed}-{perturbation.name}-{n}"))
            if new != text:
                altered[n] = new
        predicted = score(scorer, list(altered.values()), perturbation.name).argmax(axis=1)
        changed = share_of(predicted != original[list(altered)])
        results.append(
            LabelChanges(perturbation.name, perturbation.description, changed, perturbation.target)
        )
    return results


def pair_accuracy(
    scorer: Scorer, name: str, originals: Sequence[Review], edits: Sequence[Review]
) -> PairAccuracy:
    """Measure the accuracy on reviews and on edited versions of them with the opposite opinion.

    `originals` and `edits` form pairs by position, as in Kaushik et al. (2020, "Learning the
    Difference that Makes a Difference with Counterfactually-Augmented Data") and Gardner et al.
    (2020, "Evaluating Models' Local Decision Boundaries via Contrast Sets").

    Raises:
        InputError: Their numbers differ (code `unpaired-reviews`), or a label is unknown to
            `scorer`.
    """
    if len(originals) != len(edits):
        raise InputError(
            f"{name} has {len(originals)} originals and {len(edits)} edits: expected equal numbers",
            code="unpaired-reviews",
        )
    predictions = predict_labelled(scorer, [*originals, *edits], name)
    original_correct, edit_correct = predictions.correct.reshape(2, -1)
    return PairAccuracy(
        name=name,
        originals=share_of(original_correct),
        edits=share_of(edit_correct),
        both=share_of(original_correct & edit_correct),
    )


def measure_behaviours(scorer: Scorer, groups: Sequence[LengthGroup]) -> Behaviours:
    """Measure errors on template sentences that test one behaviour each, such as negation.

    The sentences are the measuring half of `datasets.behaviours`: no model is trained on their
    templates and words. `scorer` needs the labels "negative" and "positive". Sentences without an
    opinion are measured if its length `groups` have thresholds.
    """
    behaviours = behaviour_sentences("measuring", SENTENCES_PER_LABEL)
    neutral = [
        behaviour
        for behaviour in behaviours
        if all(sentence.label == NEUTRAL for sentence in behaviour.sentences)
    ]
    has_thresholds = any(group.thresholds for group in groups)
    return Behaviours(
        errors=[_errors(scorer, behaviour) for behaviour in behaviours if behaviour not in neutral],
        neutral=[_neutral_sentences(scorer, behaviour, groups) for behaviour in neutral]
        if has_thresholds
        else [],
    )


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
        target=BEHAVIOUR_TARGET if behaviour.name in _WITH_TARGET else None,
    )


def _neutral_sentences(
    scorer: Scorer, behaviour: BehaviourSentences, groups: Sequence[LengthGroup]
) -> NeutralSentences:
    answers = answer(scorer, [sentence.text for sentence in behaviour.sentences], behaviour.name)
    numbers = group_numbers(groups, answers.tokens) if answers.tokens is not None else -1
    minimum = minimum_scores(groups, TARGET_ERROR_RATE)[numbers]
    decided = answers.probabilities.max(axis=1) >= minimum
    positive = answers.probabilities.argmax(axis=1) == scorer.labels.index("positive")
    return NeutralSentences(
        name=behaviour.name,
        description=behaviour.about,
        unsure=share_of(~decided),
        positive=share_of(decided & positive),
    )
