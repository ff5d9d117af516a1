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
from reelsense.evaluation.predictions import Judged, judge, labelled
from reelsense.evaluation.robustness import Flips, Pairs, flips, pairs
from reelsense.evaluation.scorer import Scorer
from reelsense.evaluation.selective import (
    Decided,
    DecidedGroup,
    decided_by_length,
    decided_shares,
    surest_accuracy,
)
from reelsense.evaluation.slices import Slice, by_length, by_rating, stars_off

_FLIPPED_REVIEWS = 1000
"""Reviews that are perturbed to see whether the answer flips."""


@dataclass(frozen=True, slots=True)
class OneLiners:
    """How the model fares on single sentences."""

    metrics: Metrics
    accuracy: Share
    decided: list[Decided]
    decided_by_length: list[DecidedGroup]
    """Empty if the model has one length group."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """All that was measured."""

    metrics: Metrics
    label_views: list[LabelView]
    surest: Share
    """Accuracy of the 80 % of the answers that the model is surest of."""
    decided: list[Decided]
    """Each text by the thresholds of its length group."""
    decided_by_length: list[DecidedGroup]
    """Empty if the model has one length group."""
    by_length: list[Slice]
    by_rating: list[Slice]
    stars_off: float | None
    """Mean absolute error of the expected star rating."""
    flips: list[Flips]
    pairs: list[Pairs]
    one_liners: OneLiners | None
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
) -> tuple[Evaluation, Judged]:
    """Measure `scorer`, whose thresholds are those of its length `groups`.

    Returns the figures and the bare answers. `quick` leaves out robustness and fairness. `against`
    is another model and its name. With `explainer`, `scorer` itself, its explanations are measured
    too, beside those that the method `explained_by`, if any, gives. Raises InputError if no review
    carries a label, or one that the model does not know.
    """
    if against:
        labelled(material.reviews, against[1].labels)  # before an hour of scoring
    judged = judge(scorer, material.reviews)
    sets = material.sets
    suspected = suspects(judged)
    texts = [review.text for review in judged.reviews]
    sample = random.Random(0).sample(texts, min(_FLIPPED_REVIEWS, len(texts)))
    sentiment = {"negative", "positive"} <= set(scorer.labels) and not quick
    return Evaluation(
        metrics=measure(judged.wanted, judged.probabilities, judged.labels),
        label_views=label_views(judged, sets.audit, material.training_texts),
        surest=surest_accuracy(judged),
        decided=decided_shares(judged, groups),
        decided_by_length=decided_by_length(judged, groups),
        by_length=by_length(judged),
        by_rating=by_rating(judged),
        stars_off=stars_off(judged),
        flips=[] if quick else flips(scorer, sample),
        pairs=_pairs(scorer, sets) if sentiment else [],
        one_liners=_one_liners(scorer, sets, groups) if sentiment else None,
        behaviours=measure_behaviours(scorer, groups) if sentiment else None,
        identity=[*template_changes(scorer), *review_changes(scorer, texts)] if sentiment else [],
        comparison=_comparison(judged, against) if against else None,
        label_errors=label_errors(judged, suspected, sets.audit),
        mistakes=worst_mistakes(judged, suspected),
        explanations=measure_explanations(explainer, judged.reviews, explained_by)
        if explainer
        else None,
    ), judged


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


def _comparison(judged: Judged, against: tuple[str, Scorer]) -> Comparison:
    name, other = against
    return compare(judged, judge(other, judged.reviews, f"scoring with {name}"), name)


def _pairs(scorer: Scorer, sets: EvaluationSets) -> list[Pairs]:
    return [pairs(scorer, each.name, each.originals, each.edits) for each in sets.pairs]


def _one_liners(
    scorer: Scorer, sets: EvaluationSets, groups: Sequence[LengthGroup]
) -> OneLiners | None:
    if not sets.one_liners:
        return None
    judged = judge(scorer, sets.one_liners, "one-liners")
    metrics = measure(judged.wanted, judged.probabilities, judged.labels)
    accuracy = share(int(judged.correct.sum()), len(judged.reviews))
    return OneLiners(
        metrics,
        accuracy,
        decided=decided_shares(judged, groups),
        decided_by_length=decided_by_length(judged, groups),
    )
