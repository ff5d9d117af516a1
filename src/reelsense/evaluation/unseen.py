"""Rejects evaluation and calibration on texts that the model was trained on."""

from __future__ import annotations

from collections.abc import Sequence

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
