"""Rejects or leaves out texts that a model was trained on, for evaluation and calibration."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from reelsense.bundle import Bundle
from reelsense.datasets.evaluation_sets import PHRASES, VALIDATION_SENTENCES
from reelsense.datasets.reviews import Review
from reelsense.datasets.text_hashes import known_texts
from reelsense.errors import InputError

MAX_SEEN = 0.01
"""Share of training texts up to which a set is accepted: some texts occur twice by chance."""


def check_unseen(bundle: Bundle, name: str, reviews: Sequence[Review]) -> None:
    """Raise InputError if the model was trained on the `reviews` of the set `name`.

    The codes are `trained-on-texts` and, for the sentences of SST-2, `trained-on-validation`.
    Bundles without hashes of their training texts are not checked.
    """
    for part in bundle.models:  # of a cascade
        check_unseen(part, name, reviews)
    model, trained_on = bundle.manifest.name, bundle.manifest.provenance.get("extra_examples", {})
    if PHRASES in trained_on and name == VALIDATION_SENTENCES:
        raise InputError(
            f"{model} was trained on {VALIDATION_SENTENCES}: "
            "omit --evaluation-sets or calibrate on your own sentences",
            code="trained-on-validation",
        )
    if not (bundle.training_texts and reviews):
        return
    seen = int(known_texts(bundle.training_texts, [review.text for review in reviews]).sum())
    if seen > MAX_SEEN * len(reviews):
        raise InputError(
            f"{model} was trained on {seen:,} of the {len(reviews):,} texts of {name}: the results "
            "would be too optimistic. Pass data that it was not trained on, or --split validation "
            "with its training data; --force accepts these texts",
            code="trained-on-texts",
        )


def unseen_reviews(
    bundles: Sequence[Bundle],
    name: str,
    reviews: Sequence[Review],
    on_message: Callable[[str], object],
) -> list[Review]:
    """Return the labelled `reviews` of the set `name` that no model of `bundles` was trained on.

    `on_message` is called with the number of the others, and if training texts are unknown.

    Raises:
        InputError: No review is left (code `no-unseen-texts`).
    """
    known = [review for review in reviews if review.label is not None]
    texts = [review.text for review in known]
    seen = np.zeros(len(texts), dtype=np.bool_)
    for bundle in bundles:
        if bundle.training_texts is None:
            on_message(
                f"warning: the training texts of {bundle.manifest.name} {bundle.manifest.version} "
                f"are unknown: it may have been trained on texts of {name}"
            )
        else:
            seen |= known_texts(bundle.training_texts, texts)
    if seen.all():
        raise InputError(
            f"{name} has no labelled text on which no model was trained: expected texts that are "
            "new to both models",
            code="no-unseen-texts",
        )
    if count := int(seen.sum()):
        on_message(
            f"{name}: {count:,} of {len(known):,} texts left out: a model was trained on them"
        )
    return [review for review, is_seen in zip(known, seen, strict=True) if not is_seen]
