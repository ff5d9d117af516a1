"""Errors due to wrong labels: audits, duplicates and suspect labels."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from random import Random

import numpy as np
from numpy.typing import NDArray

from reelsense.datasets.evaluation_sets import Audit
from reelsense.datasets.reviews import Review
from reelsense.evaluation.baseline import cross_validate
from reelsense.evaluation.metrics import share_of
from reelsense.evaluation.predictions import LabelledPredictions
from reelsense.report.results import AUDITED, Disagreement, LabelErrors, LabelView

_CHECKED = 20_000  # takes a minute for long reviews


def label_views(
    predictions: LabelledPredictions,
    audit: Mapping[str, Audit] | None,
    training_texts: Collection[str],
) -> list[LabelView]:
    """Return the accuracy with original labels, audited labels, and without training texts."""
    views = [LabelView("original labels", share_of(predictions.correct))]
    names = [review.name for review in predictions.reviews]
    if audit and len(predictions.labels) == 2 and any(name in audit for name in names):
        verdicts = [audit.get(name, Audit.UPHELD) for name in names]
        flipped = np.array([verdict is Audit.FLIPPED for verdict in verdicts])
        clear = np.array([verdict is not Audit.UNCLEAR for verdict in verdicts])
        views.append(LabelView(AUDITED, share_of((predictions.correct ^ flipped)[clear])))
    duplicate = np.array([review.text in training_texts for review in predictions.reviews])
    if duplicate.any():
        name = f"original labels, without the {duplicate.sum():,} texts that also occur in train"
        views.append(LabelView(name, share_of(predictions.correct[~duplicate])))
    return views


def suspect_labels(predictions: LabelledPredictions) -> NDArray[np.int64]:
    """Return the indices of labels that are probably wrong, the most likely first.

    Empty if a label never occurs.
    """
    if len(set(predictions.targets.tolist())) < len(predictions.labels):
        return np.empty(0, dtype=np.int64)
    from cleanlab.filter import find_label_issues  # takes a second to import

    indices: NDArray[np.int64] = find_label_issues(
        labels=predictions.targets,
        pred_probs=predictions.probabilities,
        return_indices_ranked_by="self_confidence",
        min_examples_per_class=0,  # check small files too
        n_jobs=1,  # more would fork a process that has threads
    )
    return indices


def describe_suspects(reviews: Sequence[Review], limit: int = 10) -> list[str]:
    """Return a line with up to `limit` labels of `reviews` to check; empty without suspects.

    They are found by cross-validation of a bag of words, before a model is trained. Of more reviews
    than _CHECKED, a sample is checked.
    """
    if len(reviews) > _CHECKED:
        reviews = Random(0).sample(reviews, _CHECKED)
    predictions = cross_validate(reviews)
    suspects = [] if predictions is None else suspect_labels(predictions).tolist()
    if predictions is None or not suspects:
        return []
    rows = [_disagreement(predictions, n) for n in suspects[:limit]]
    listed = ", ".join(f"{row.name} ({row.label}; {row.predicted}?)" for row in rows)
    return [
        f"labels to check ({len(suspects):,}), because a bag of words trained on other rows "
        f"contradicts them: {listed}{', ...' if len(suspects) > limit else ''}"
    ]


def label_errors(
    predictions: LabelledPredictions,
    suspects: NDArray[np.int64],
    audit: Mapping[str, Audit] | None,
    limit: int = 20,
) -> LabelErrors:
    """Count the `suspects` and compare them with the audit; list the `limit` likeliest."""
    verdicts = [(audit or {}).get(predictions.reviews[n].name) for n in suspects]
    audited = [verdict for verdict in verdicts if verdict is not None]
    return LabelErrors(
        count=len(suspects),
        audited=len(audited),
        not_upheld=sum(verdict is not Audit.UPHELD for verdict in audited),
        likeliest=[_disagreement(predictions, n) for n in suspects[:limit]],
    )


def worst_mistakes(
    predictions: LabelledPredictions, suspects: NDArray[np.int64], limit: int = 20
) -> list[Disagreement]:
    """Return the errors with the highest confidence, without those with a suspect label."""
    wrong = np.setdiff1d(np.flatnonzero(~predictions.correct), suspects)
    order = np.argsort(-predictions.confidence[wrong], kind="stable")[:limit]
    return [_disagreement(predictions, n) for n in wrong[order]]


def _disagreement(predictions: LabelledPredictions, n: int) -> Disagreement:
    review = predictions.reviews[n]
    return Disagreement(
        name=review.name,
        text=review.text,
        label=predictions.labels[predictions.targets[n]],
        predicted=predictions.labels[predictions.predicted[n]],
        score=float(predictions.confidence[n]),
    )
