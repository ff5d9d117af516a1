"""Robustness: label changes under perturbations, and accuracy on edits that reverse the opinion.

Perturbations preserve the opinion, as in the invariance tests of Ribeiro et al. (2020, "Beyond
Accuracy: Behavioral Testing of NLP Models with CheckList"). Pairs are reviews with edited versions
of the opposite opinion (Kaushik et al. 2020, "Learning the Difference that Makes a Difference with
Counterfactually-Augmented Data"; Gardner et al. 2020, "Evaluating Models' Local Decision
Boundaries via Contrast Sets").
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from reelsense.datasets.reviews import Review
from reelsense.errors import InputError
from reelsense.evaluation.metrics import share_of
from reelsense.evaluation.perturbations import PERTURBATIONS
from reelsense.evaluation.predictions import predict_labelled
from reelsense.evaluation.scorer import Scorer, score
from reelsense.report.results import LabelChanges, PairAccuracy


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
    """Measure the accuracy on `originals` and `edits`, which form pairs by position.

    Raises:
        InputError: Their numbers differ (code `unpaired-reviews`), or a label is unknown to
            `scorer`.
    """
    if len(originals) != len(edits):
        raise InputError(
            f"{name} has {len(originals)} originals and {len(edits)} edits: expected as many of "
            "each",
            code="unpaired-reviews",
        )
    original_correct, edit_correct = predict_labelled(
        scorer, [*originals, *edits], name
    ).correct.reshape(2, -1)
    return PairAccuracy(
        name=name,
        originals=share_of(original_correct),
        edits=share_of(edit_correct),
        both=share_of(original_correct & edit_correct),
    )
