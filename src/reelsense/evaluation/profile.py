"""The reference profile of a model: measurements of validation texts, to detect drift."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

import numpy as np

from reelsense.bundle import Bundle, Manifest
from reelsense.datasets.reviews import Review
from reelsense.drift.profile import MAX_ROWS, make_rows, serialize
from reelsense.errors import TextError
from reelsense.evaluation.predictions import unreadable
from reelsense.evaluation.scorer import in_batches
from reelsense.evaluation.unseen import check_unseen
from reelsense.inference.calibration import group_numbers, probabilities_by_group
from reelsense.inference.classifier import Classifier
from reelsense.prediction import ScoredTexts


def add_profile(
    bundle: Bundle,
    classifier: Classifier,
    name: str,
    reviews: Sequence[Review],
    *,
    force: bool = False,
) -> Bundle:
    """Return `bundle` with the reference profile of `reviews`, the set `name`.

    Raises InputError if a text cannot be scored or, without `force`, if the model was trained on
    the texts.
    """
    if not force:
        check_unseen(bundle, name, reviews)
    chosen = [reviews[n] for n in _sample(len(reviews))]
    batches = score_reviews(classifier, chosen, "profiling")
    return replace(bundle, profile=reference_profile(bundle.manifest, chosen, batches))


def _sample(count: int) -> list[int]:
    """Return at most MAX_ROWS positions of `count`, evenly spaced."""
    size = min(count, MAX_ROWS)
    return [count * n // size for n in range(size)]


def score_reviews(
    classifier: Classifier, reviews: Sequence[Review], title: str
) -> list[ScoredTexts]:
    """Return the scores of `reviews` in batches, with a progress bar named `title`.

    Raises InputError if a text cannot be scored.
    """
    try:
        return in_batches(classifier.score, [review.text for review in reviews], title)
    except TextError as error:
        raise unreadable(reviews, error) from error


def reference_profile(
    manifest: Manifest, reviews: Sequence[Review], batches: Sequence[ScoredTexts]
) -> str:
    """Return the profile of at most MAX_ROWS of `reviews`, evenly spaced.

    `batches` are their scores, and may continue with those of other texts. Their probabilities are
    computed again, with the calibration of `manifest`.
    """
    chosen = _sample(len(reviews))
    features = list(chain.from_iterable(batch.features for batch in batches))
    logits, windows, tokens = (
        np.concatenate([getattr(batch, name) for batch in batches])[chosen]
        for name in ("logits", "windows", "tokens")
    )
    groups = group_numbers(manifest.groups, tokens)
    calibrations = [group.calibration for group in manifest.groups]
    probabilities = probabilities_by_group(logits, windows, groups, calibrations)
    rows = make_rows(
        manifest,
        [reviews[n].text for n in chosen],
        labels=probabilities.argmax(axis=1),
        confidence=probabilities.max(axis=1),
        tokens=tokens,
        features=[features[n] for n in chosen],
    )
    return serialize(rows)
