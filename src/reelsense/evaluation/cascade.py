"""Fit a cascade: which texts the accurate model has to score, so that accuracy hardly decreases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from reelsense.bundle import Bundle, Cascade, Manifest
from reelsense.errors import InputError
from reelsense.evaluation.calibrate import ValidationSet, calibrate
from reelsense.evaluation.metrics import mcnemar
from reelsense.evaluation.predictions import labelled
from reelsense.evaluation.scorer import score
from reelsense.evaluation.unseen import check_unseen
from reelsense.inference.classifier import Classifier

MARGIN = 0.001
"""Loss of accuracy on the validation set, compared with the second model alone."""

_SIGNIFICANT = 0.05


@dataclass(frozen=True, slots=True)
class CascadeFit:
    """The threshold of a cascade, and what it does on the validation set."""

    threshold: float  # highest probability of the first model at which the second one answers
    texts: int
    second_share: float  # share of the texts that the second model scores
    accuracy_first: float
    accuracy_second: float
    accuracy: float
    p_value: float  # of McNemar's exact test (1947) that the second model alone is more accurate


def fit_threshold(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    targets: NDArray[np.int64],
    margin: float = MARGIN,
) -> CascadeFit:
    """Return the lowest threshold that costs at most `margin` of the accuracy of the second model.

    The loss must not be significant either (p < 0.05). `first` and `second` are the probabilities
    (n, labels) of the two models, and `targets` (n) the indices of the true labels.
    """
    confidence = first.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    correct, other = (model.argmax(axis=1) == targets for model in (first, second))
    # Of the k texts that the first model is most confident about: how often only one is correct.
    gained = np.cumsum([0, *(correct & ~other)[order]])
    lost = np.cumsum([0, *(other & ~correct)[order]])
    thresholds = np.array([*confidence[order], 0.0])  # of k, the first model answers above
    separable = np.array([np.inf, *confidence[order]]) > thresholds  # equal ones stay together
    for k in np.flatnonzero(separable & (lost - gained <= margin * len(targets)))[::-1]:
        p_value = mcnemar(int(lost[k]), int(gained[k]), one_sided=True)
        if p_value >= _SIGNIFICANT:
            break
    return CascadeFit(
        threshold=float(thresholds[k]),
        texts=len(targets),
        second_share=1 - k / len(targets),
        accuracy_first=float(correct.mean()),
        accuracy_second=float(other.mean()),
        accuracy=float(other.mean() + (gained[k] - lost[k]) / len(targets)),
        p_value=p_value,
    )


def make_cascade(
    name: str,
    models: tuple[tuple[str, Bundle], tuple[str, Bundle]],
    sets: Sequence[ValidationSet],
    *,
    margin: float = MARGIN,
    default_risk: float | None = None,
    force: bool = False,
) -> tuple[Bundle, CascadeFit]:
    """Return a cascade of two models, with its calibration and thresholds, and its fit.

    Args:
        name: Name of the cascade.
        models: The fast and the accurate model, with the names under which they are installed.
        sets: Labelled texts that neither model was trained on. The threshold of the cascade is
            fitted on the first set, the calibration on all.
        margin: Loss of accuracy on the first set, compared with the second model alone.
        default_risk: See `calibrate`.
        force: Accept texts that a model was trained on.

    Raises:
        InputError: The models have different labels or ratings, or a set is not suitable (see
            `calibrate`).
    """
    (first_name, first), (second_name, second) = models
    for key in ("labels", "ratings"):
        values = getattr(first.manifest, key), getattr(second.manifest, key)
        if values[0] != values[1]:
            raise InputError(
                f"{first_name} has the {key} {list(values[0])} and {second_name} "
                f"{list(values[1])}: expected two models with the same {key}",
                code="different-labels",
            )
    for part in () if force else sets:
        for bundle in (first, second):
            check_unseen(bundle, part.name, part.reviews)
    reviews, targets = labelled(sets[0].reviews, first.manifest.labels)
    texts = [review.text for review in reviews]
    fit = fit_threshold(
        score(Classifier(first), texts, first_name),
        score(Classifier(second), texts, second_name),
        targets,
        margin,
    )
    manifest = Manifest(
        name=name,
        labels=first.manifest.labels,
        window=first.manifest.window,
        ratings=first.manifest.ratings,
        title=first.manifest.title,
        unit=first.manifest.unit,
        examples=first.manifest.examples,
        cascade=Cascade(
            models=(first.reference(first_name), second.reference(second_name)),
            threshold=fit.threshold,
        ),
    )
    manifest.provenance["data"] = first.manifest.provenance.get("data", "")
    card = (
        f"# {name}\n\n{first_name} {first.manifest.version} answers if its probability is above "
        f"{fit.threshold:.4f}, {second_name} {second.manifest.version} otherwise.\n"
    )
    bundle = Bundle(manifest, network=b"", tokenizer="", card=card, models=(first, second))
    # Checked above, before the texts were scored.
    calibrated = calibrate(bundle, Classifier(bundle), sets, default_risk=default_risk, force=True)
    return replace(calibrated, card=card), fit
