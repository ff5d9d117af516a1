"""How much of an error is the label's: audited labels, doubles, and labels that look wrong."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reelsense.datasets.label_audit import Audit
from reelsense.evaluation.metrics import Share, share
from reelsense.evaluation.predictions import LabelledPredictions

AUDITED = "audited labels"


@dataclass(frozen=True, slots=True)
class LabelView:
    """The accuracy under one way to take the labels."""

    name: str
    accuracy: Share


@dataclass(frozen=True, slots=True)
class Doubt:
    """A review whose answer and label differ."""

    name: str
    text: str
    label: str
    answer: str
    score: float
    """The probability of the answer."""


@dataclass(frozen=True, slots=True)
class LabelErrors:
    """What cleanlab (Northcutt et al. 2021, "Confident Learning") holds for wrong labels."""

    count: int
    audited: int
    """Of them, how many people have looked at."""
    not_upheld: int
    """Of those, how many of the labels they did not uphold."""
    likeliest: list[Doubt]


def label_views(
    predictions: LabelledPredictions,
    audit: Mapping[str, Audit] | None,
    training_texts: Collection[str],
) -> list[LabelView]:
    """Return the accuracy on the labels as given, as audited, and without doubles of training."""
    views = [LabelView("original labels", _accuracy(predictions.correct))]
    if audit and len(predictions.labels) == 2 and any(r.name in audit for r in predictions.reviews):
        verdicts = [audit.get(review.name, Audit.UPHELD) for review in predictions.reviews]
        flipped = np.array([verdict is Audit.FLIPPED for verdict in verdicts])
        kept = np.array([verdict is not Audit.UNCLEAR for verdict in verdicts])
        views.append(LabelView(AUDITED, _accuracy((predictions.correct ^ flipped)[kept])))
    double = np.array([review.text in training_texts for review in predictions.reviews])
    if double.any():
        views.append(
            LabelView(
                f"original labels, without the {double.sum():,} texts that are in train too",
                _accuracy(predictions.correct[~double]),
            )
        )
    return views


def _accuracy(correct: NDArray[np.bool_]) -> Share:
    return share(int(correct.sum()), len(correct))


def suspects(predictions: LabelledPredictions) -> NDArray[np.int64]:
    """Return which labels are probably wrong, the likeliest first; none if a label never occurs."""
    if len(set(predictions.targets.tolist())) < len(predictions.labels):
        return np.empty(0, dtype=np.int64)
    # Here, because it takes a second, which commands that only import this need not wait for.
    from cleanlab.filter import find_label_issues

    found: NDArray[np.int64] = find_label_issues(
        labels=predictions.targets,
        pred_probs=predictions.probabilities,
        return_indices_ranked_by="self_confidence",
        min_examples_per_class=0,  # a small file is looked at too
        n_jobs=1,  # others would be forked, from a process that has threads
    )
    return found


def label_errors(
    predictions: LabelledPredictions,
    suspected: NDArray[np.int64],
    audit: Mapping[str, Audit] | None,
    most: int = 20,
) -> LabelErrors:
    """Return what the `suspected` labels are, and what people found them to be."""
    verdicts = [(audit or {}).get(predictions.reviews[n].name) for n in suspected]
    looked_at = [verdict for verdict in verdicts if verdict is not None]
    return LabelErrors(
        count=len(suspected),
        audited=len(looked_at),
        not_upheld=sum(verdict is not Audit.UPHELD for verdict in looked_at),
        likeliest=[_doubt(predictions, n) for n in suspected[:most]],
    )


def worst_mistakes(
    predictions: LabelledPredictions, suspected: NDArray[np.int64], most: int = 20
) -> list[Doubt]:
    """Return the wrong answers that the model was surest of, but those with a suspected label."""
    wrong = np.setdiff1d(np.flatnonzero(~predictions.correct), suspected)
    order = np.argsort(-predictions.confidence[wrong], kind="stable")[:most]
    return [_doubt(predictions, n) for n in wrong[order]]


def _doubt(predictions: LabelledPredictions, n: int) -> Doubt:
    review = predictions.reviews[n]
    return Doubt(
        name=review.name,
        text=review.text,
        label=predictions.labels[predictions.targets[n]],
        answer=predictions.labels[predictions.answers[n]],
        score=float(predictions.confidence[n]),
    )
