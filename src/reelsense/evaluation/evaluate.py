"""Evaluate a classifier on labelled reviews: metrics, robustness, fairness and explanations."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from reelsense import __version__
from reelsense.bundle import LengthGroup, Manifest
from reelsense.datasets.evaluation_sets import EvaluationSets
from reelsense.datasets.reviews import Review
from reelsense.evaluation import label_quality, plots
from reelsense.evaluation.explanations import Explainer, Scores, measure_explanations
from reelsense.evaluation.fairness import review_changes, template_changes
from reelsense.evaluation.metrics import classification_metrics, mcnemar, share_of
from reelsense.evaluation.predictions import LabelledPredictions, labelled, predict_labelled
from reelsense.evaluation.robustness import label_changes, measure_behaviours, pair_accuracy
from reelsense.evaluation.scorer import Scorer
from reelsense.evaluation.selective import (
    accuracy_at_coverage,
    selective_by_length,
    selective_results,
)
from reelsense.report.record import EvaluationRecord
from reelsense.report.results import (
    ClassificationMetrics,
    Comparison,
    Evaluation,
    SingleSentences,
    Slice,
)

_PERTURBED_REVIEWS = 1000  # at most
_WORDS = (0, 50, 100, 150, 200, 300, 500, 1000, np.inf)  # edges of the ranges of lengths


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationData:
    """The texts that a classifier is evaluated on."""

    reviews: Sequence[Review]
    sets: EvaluationSets = field(default_factory=EvaluationSets)
    training_texts: Collection[str] = frozenset()  # the classifier may have been trained on them


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationOptions:
    """What to measure beside the metrics."""

    quick: bool = False  # skip robustness, behaviours and fairness
    compare_to: tuple[str, Scorer] | None = None  # name of another model, and that model
    explainer: Explainer | None = None  # the evaluated classifier, to measure its explanations
    other_explanations: tuple[str, Scores] | None = None  # another method, after its name


def evaluate(
    scorer: Scorer,
    data: EvaluationData,
    groups: Sequence[LengthGroup] = (),
    options: EvaluationOptions = EvaluationOptions(),
) -> tuple[Evaluation, LabelledPredictions]:
    """Evaluate `scorer`, whose decision thresholds are those of its length `groups`.

    Returns:
        The results, and the predictions they were computed from.

    Raises:
        InputError: No review has a label, or one has a label that a model does not know.
    """
    if options.compare_to:
        labelled(data.reviews, options.compare_to[1].labels)  # fail before an hour of scoring
    predictions = predict_labelled(scorer, data.reviews)
    sets, explainer = data.sets, options.explainer
    suspects = label_quality.suspect_labels(predictions)
    texts = [review.text for review in predictions.reviews]
    sample = random.Random(0).sample(texts, min(_PERTURBED_REVIEWS, len(texts)))
    sentiment = {"negative", "positive"} <= set(scorer.labels) and not options.quick
    return Evaluation(
        metrics=_metrics(predictions),
        label_views=label_quality.label_views(predictions, sets.audit, data.training_texts),
        accuracy_at_80_coverage=accuracy_at_coverage(predictions, 0.8),
        selective=selective_results(predictions, groups),
        selective_by_length=selective_by_length(predictions, groups),
        by_length=by_length(predictions),
        by_rating=by_rating(predictions),
        star_mae=star_mae(predictions),
        label_changes=[] if options.quick else label_changes(scorer, sample),
        pairs=[pair_accuracy(scorer, pair.name, pair.originals, pair.edits) for pair in sets.pairs]
        if sentiment
        else [],
        single_sentences=_single_sentences(scorer, sets, groups) if sentiment else None,
        behaviours=measure_behaviours(scorer, groups) if sentiment else None,
        identity=[*template_changes(scorer), *review_changes(scorer, texts)] if sentiment else [],
        comparison=_comparison(predictions, *options.compare_to) if options.compare_to else None,
        label_errors=label_quality.label_errors(predictions, suspects, sets.audit),
        mistakes=label_quality.worst_mistakes(predictions, suspects),
        explanations=measure_explanations(
            explainer, predictions.reviews, options.other_explanations
        )
        if explainer
        else None,
    ), predictions


def make_record(
    evaluation: Evaluation, predictions: LabelledPredictions, manifest: Manifest, data: str
) -> EvaluationRecord:
    """Return the content of evaluation.json, with all plots.

    Args:
        evaluation: The results.
        predictions: The predictions they were computed from.
        manifest: Of the evaluated model.
        data: Name of the data set and its part, such as "the official test part of ...".
    """
    return EvaluationRecord(
        model=manifest.name,
        version=manifest.version,
        data=data,
        reelsense=__version__,
        evaluation=evaluation,
        plots=plots.draw_plots(evaluation, predictions, manifest.provenance.get("curves")),
    )


def _metrics(predictions: LabelledPredictions) -> ClassificationMetrics:
    return classification_metrics(
        predictions.targets, predictions.probabilities, predictions.labels
    )


def by_length(predictions: LabelledPredictions) -> list[Slice]:
    """Return the accuracy by number of words."""
    words = np.array([len(review.text.split()) for review in predictions.reviews])
    slices = []
    for low, high in pairwise(_WORDS):
        chosen = (words > low) & (words <= high)
        name = f"over {low:,}" if high == np.inf else f"{low + 1:,} to {high:,}"
        if chosen.any():
            slices.append(Slice(name, share_of(predictions.correct[chosen])))
    return slices


def by_rating(predictions: LabelledPredictions) -> list[Slice]:
    """Return the accuracy by star rating; empty if no review has one."""
    ratings = _ratings(predictions)
    return [
        Slice(str(rating), share_of(predictions.correct[ratings == rating]))
        for rating in sorted(set(ratings.tolist()) - {0})
    ]


def star_mae(predictions: LabelledPredictions) -> float | None:
    """Return the mean absolute error of the expected star ratings; None without ratings."""
    ratings = _ratings(predictions)
    if predictions.stars is None or not ratings.any():
        return None
    return float(np.abs(predictions.stars - ratings)[ratings > 0].mean())


def _ratings(predictions: LabelledPredictions) -> NDArray[np.int64]:
    """Return the star rating (n) of each review; 0 if it has none."""
    return np.array([review.rating or 0 for review in predictions.reviews])


def compare(this: LabelledPredictions, other: LabelledPredictions, name: str) -> Comparison:
    """Compare predictions of two models for the same reviews with McNemar's exact test (1947)."""
    only_this = int((this.correct & ~other.correct).sum())
    only_other = int((other.correct & ~this.correct).sum())
    return Comparison(
        name=name,
        metrics=_metrics(other),
        only_this_right=only_this,
        only_other_right=only_other,
        p_value=mcnemar(only_this, only_other),
    )


def _comparison(predictions: LabelledPredictions, name: str, other: Scorer) -> Comparison:
    return compare(
        predictions, predict_labelled(other, predictions.reviews, f"scoring with {name}"), name
    )


def _single_sentences(
    scorer: Scorer, sets: EvaluationSets, groups: Sequence[LengthGroup]
) -> SingleSentences | None:
    if not sets.single_sentences:
        return None
    predictions = predict_labelled(scorer, sets.single_sentences, "single sentences")
    return SingleSentences(
        _metrics(predictions),
        share_of(predictions.correct),
        selective=selective_results(predictions, groups),
        selective_by_length=selective_by_length(predictions, groups),
    )
