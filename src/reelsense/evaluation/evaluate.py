"""Everything that is measured of a classifier, in one pass over labelled reviews."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from reelsense.bundle import LengthGroup
from reelsense.datasets.evaluation_sets import EvaluationSets
from reelsense.datasets.reviews import Review
from reelsense.evaluation.behaviours import Behaviours, measure_behaviours
from reelsense.evaluation.comparison import Comparison, compare
from reelsense.evaluation.explanations import (
    Explainer,
    Explanations,
    Scores,
    measure_explanations,
)
from reelsense.evaluation.fairness import IdentityChanges, review_changes, template_changes
from reelsense.evaluation.label_quality import (
    Doubt,
    LabelErrors,
    LabelView,
    label_errors,
    label_views,
    suspects,
    worst_mistakes,
)
from reelsense.evaluation.metrics import Metrics, Share, measure, share
from reelsense.evaluation.predictions import LabelledPredictions, labelled, predict_labelled
from reelsense.evaluation.robustness import LabelChanges, Pairs, flips, pairs
from reelsense.evaluation.scorer import Scorer
from reelsense.evaluation.selective import (
    SelectiveGroup,
    SelectiveResult,
    accuracy_at_coverage,
    selective_by_length,
    selective_results,
)
from reelsense.evaluation.slices import Slice, by_length, by_rating, star_mae

_FLIPPED_REVIEWS = 1000
"""Reviews that are perturbed to see whether the answer flips."""


@dataclass(frozen=True, slots=True)
class SingleSentences:
    """How the model fares on single sentences."""

    metrics: Metrics
    accuracy: Share
    decided: list[SelectiveResult]
    selective_by_length: list[SelectiveGroup]
    """Empty if the model has one length group."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """All that was measured."""

    metrics: Metrics
    label_views: list[LabelView]
    surest: Share
    """Accuracy of the 80 % of the answers that the model is surest of."""
    decided: list[SelectiveResult]
    """Each text by the thresholds of its length group."""
    selective_by_length: list[SelectiveGroup]
    """Empty if the model has one length group."""
    by_length: list[Slice]
    by_rating: list[Slice]
    star_mae: float | None
    """Mean absolute error of the expected star rating."""
    flips: list[LabelChanges]
    pairs: list[Pairs]
    single_sentences: SingleSentences | None
    behaviours: Behaviours | None
    """None of a model without the labels "negative" and "positive"."""
    identity: list[IdentityChanges]
    comparison: Comparison | None
    label_errors: LabelErrors
    mistakes: list[Doubt]
    explanations: Explanations | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What a classifier is measured on."""

    reviews: Sequence[Review]
    sets: EvaluationSets = field(default_factory=EvaluationSets)
    training_texts: Collection[str] = frozenset()
    """To tell which of `reviews` the classifier may have learned."""


def evaluate(
    scorer: Scorer,
    material: Material,
    groups: Sequence[LengthGroup] = (),
    *,
    quick: bool = False,
    against: tuple[str, Scorer] | None = None,
    explainer: Explainer | None = None,
    explained_by: tuple[str, Scores] | None = None,
) -> tuple[Evaluation, LabelledPredictions]:
    """Measure `scorer`, whose thresholds are those of its length `groups`.

    Returns the figures and the bare answers. `quick` leaves out robustness and fairness. `against`
    is another model and its name. With `explainer`, `scorer` itself, its explanations are measured
    too, beside those that the method `explained_by`, if any, gives. Raises InputError if no review
    carries a label, or one that the model does not know.
    """
    if against:
        labelled(material.reviews, against[1].labels)  # before an hour of scoring
    predictions = predict_labelled(scorer, material.reviews)
    sets = material.sets
    suspected = suspects(predictions)
    texts = [review.text for review in predictions.reviews]
    sample = random.Random(0).sample(texts, min(_FLIPPED_REVIEWS, len(texts)))
    sentiment = {"negative", "positive"} <= set(scorer.labels) and not quick
    return Evaluation(
        metrics=measure(predictions.targets, predictions.probabilities, predictions.labels),
        label_views=label_views(predictions, sets.audit, material.training_texts),
        surest=accuracy_at_coverage(predictions),
        decided=selective_results(predictions, groups),
        selective_by_length=selective_by_length(predictions, groups),
        by_length=by_length(predictions),
        by_rating=by_rating(predictions),
        star_mae=star_mae(predictions),
        flips=[] if quick else flips(scorer, sample),
        pairs=_pairs(scorer, sets) if sentiment else [],
        single_sentences=_one_liners(scorer, sets, groups) if sentiment else None,
        behaviours=measure_behaviours(scorer, groups) if sentiment else None,
        identity=[*template_changes(scorer), *review_changes(scorer, texts)] if sentiment else [],
        comparison=_comparison(predictions, against) if against else None,
        label_errors=label_errors(predictions, suspected, sets.audit),
        mistakes=worst_mistakes(predictions, suspected),
        explanations=measure_explanations(explainer, predictions.reviews, explained_by)
        if explainer
        else None,
    ), predictions


def without_texts(found: Evaluation) -> Evaluation:
    """Return `found` without the texts of the reviews it was measured on, fit to be published."""
    errors = found.label_errors
    return replace(
        found,
        mistakes=[replace(each, text="") for each in found.mistakes],
        label_errors=replace(
            errors, likeliest=[replace(each, text="") for each in errors.likeliest]
        ),
        identity=[
            replace(each, widest=("", "")) if each.source == "reviews" else each
            for each in found.identity
        ],
    )


def _comparison(predictions: LabelledPredictions, against: tuple[str, Scorer]) -> Comparison:
    name, other = against
    return compare(
        predictions, predict_labelled(other, predictions.reviews, f"scoring with {name}"), name
    )


def _pairs(scorer: Scorer, sets: EvaluationSets) -> list[Pairs]:
    return [pairs(scorer, each.name, each.originals, each.edits) for each in sets.pairs]


def _one_liners(
    scorer: Scorer, sets: EvaluationSets, groups: Sequence[LengthGroup]
) -> SingleSentences | None:
    if not sets.single_sentences:
        return None
    predictions = predict_labelled(scorer, sets.single_sentences, "one-liners")
    metrics = measure(predictions.targets, predictions.probabilities, predictions.labels)
    accuracy = share(int(predictions.correct.sum()), len(predictions.reviews))
    return SingleSentences(
        metrics,
        accuracy,
        decided=selective_results(predictions, groups),
        selective_by_length=selective_by_length(predictions, groups),
    )
