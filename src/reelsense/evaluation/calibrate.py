"""Fit calibration and decision thresholds on a validation set, separately for each length group.

A model trained on reviews is wrong more often, and more confident, on a single sentence.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from reelsense.bundle import Bundle, Calibration, LengthGroup, RiskControl
from reelsense.datasets.evaluation_sets import VALIDATION_SENTENCES, read_validation_sentences
from reelsense.datasets.reviews import Review
from reelsense.evaluation.metrics import calibration_error
from reelsense.evaluation.predictions import labelled
from reelsense.evaluation.profile import reference_profile, score_reviews
from reelsense.evaluation.selective import CONFIDENCE, METHOD, RISKS, find_thresholds
from reelsense.evaluation.unseen import check_unseen
from reelsense.inference.calibration import probabilities
from reelsense.inference.classifier import Classifier
from reelsense.prediction import ScoredTexts

# Range of the default target error rate. At a higher one, "positive" would be wrong too often for
# a verdict that nobody asked for; users have to choose it themselves.
USUAL_RISK, MAX_DEFAULT_RISK = 0.02, 0.05

# Length groups and their `max_tokens`, except the last group. All sentences of SST-2 and 3% of the
# reviews of IMDb have at most 64 tokens.
LENGTHS = (("sentence", 64), ("short", 128))

# Minimum number of labelled texts in a length group. With 650 texts above the threshold and 1%
# errors, a threshold for 2% is found half of the time; with 400 rarely, with fewer than 160 never.
# A group with fewer texts is merged with the next longer one, the last with the one before it.
MIN_TEXTS = 1000

_NOTE = "> Recalibrated"
_FOLDS = 10


@dataclass(frozen=True, slots=True)
class ValidationSet:
    """Labelled texts that the model was not trained on."""

    name: str
    reviews: Sequence[Review]


def sentence_set(folder: Path) -> ValidationSet:
    """Read the validation sentences from the evaluation sets in `folder`. Raises DatasetError."""
    return ValidationSet(VALIDATION_SENTENCES, read_validation_sentences(folder))


@dataclass(frozen=True, slots=True)
class _Logits:
    """Logits of labelled texts (n), before calibration."""

    logits: NDArray[np.float64]  # (n, labels)
    windows: NDArray[np.int64]
    tokens: NDArray[np.int64]
    targets: NDArray[np.int64]  # index of the true label

    def __getitem__(self, chosen: NDArray[np.bool_]) -> _Logits:
        return _Logits(
            self.logits[chosen], self.windows[chosen], self.tokens[chosen], self.targets[chosen]
        )

    def calibrated(self, calibration: Calibration) -> NDArray[np.float64]:
        return probabilities(self.logits, self.windows, calibration)


def calibrate(
    bundle: Bundle,
    classifier: Classifier,
    sets: Sequence[ValidationSet],
    *,
    default_risk: float | None = None,
    force: bool = False,
) -> Bundle:
    """Return `bundle` with calibration and thresholds fitted by length group on all of `sets`.

    The stated confidence holds for each threshold separately: for texts of its length group, from
    the same distribution as `sets`, at its target error rate. All groups together keep a target
    error rate with a confidence of at least 1 - groups x (1 - confidence). The guarantee takes the
    order of the probabilities as given, although the calibration is fitted on the same texts. With
    cross-fitted probabilities it holds in simulations too, but coverage is lower.

    Args:
        bundle: The bundle; an earlier calibration is replaced.
        classifier: The classifier of the bundle.
        sets: Texts that the model was not trained on.
        default_risk: Target error rate of requests that do not set one; None: the lowest from
            USUAL_RISK to MAX_DEFAULT_RISK that can be kept. If it cannot be kept, every verdict of
            these requests is "unsure".
        force: Accept texts that it was trained on.

    Returns:
        The bundle, with the first of `sets` as its reference profile. If its calibration or
        thresholds have changed, without its evaluation, which belongs to the earlier ones, and
        with a note in its card.

    Raises:
        InputError: A set has no labels, an unknown label, a text that cannot be scored, or texts
            that the model was trained on.
    """
    for part in () if force else sets:
        check_unseen(bundle, part.name, part.reviews)
    known = [labelled(part.reviews, classifier.labels) for part in sets]
    reviews = [review for part, _ in known for review in part]
    targets = np.concatenate([part for _, part in known])
    names = np.repeat([part.name for part in sets], [len(part) for part, _ in known])
    films = np.array([review.group for review in reviews])
    batches = score_reviews(classifier, reviews, "calibrating")
    logits = _logits(batches, targets)
    parts = list(_length_groups(logits.tokens))
    groups = [
        _fit_group(group, logits[chosen], films[chosen], names[chosen]) for group, chosen in parts
    ]
    *shorter, longest = groups
    control = RiskControl(
        method=METHOD,
        confidence=CONFIDENCE,
        reviews=int(parts[-1][1].sum()),
        default_risk=default_risk or _default_risk(groups),
        thresholds=longest.thresholds,
    )
    manifest = replace(
        bundle.manifest,
        calibration=longest.calibration,
        risk_control=control,
        length_groups=tuple(shorter),
    )
    bundle = replace(bundle, profile=reference_profile(manifest, known[0][0], batches))
    if manifest == bundle.manifest:
        return bundle
    card = _with_note(bundle.card, f"{_counted(names)} ({len(reviews):,} {bundle.manifest.nouns})")
    return replace(bundle, manifest=manifest, card=card, evaluation=None)


def _length_groups(tokens: NDArray[np.int64]) -> Iterator[tuple[LengthGroup, NDArray[np.bool_]]]:
    """Yield the length groups for texts with these `tokens` (n), and a mask of their texts (n).

    A bound of LENGTHS separates two groups if both keep MIN_TEXTS.
    """
    longer = np.full(len(tokens), True)
    for name, max_tokens in LENGTHS:
        chosen = longer & (tokens <= max_tokens)
        if min(chosen.sum(), (longer & ~chosen).sum()) >= MIN_TEXTS:
            yield LengthGroup(name=name, max_tokens=max_tokens), chosen
            longer &= ~chosen
    yield LengthGroup(name="all" if longer.all() else "long", max_tokens=None), longer


def _fit_group(
    group: LengthGroup, logits: _Logits, films: NDArray[np.str_], names: NDArray[np.str_]
) -> LengthGroup:
    """Return `group` with calibration and thresholds.

    `films` and `names` are the film and the validation set of each text (n).
    """
    calibration = _fit(logits)
    final = logits.calibrated(calibration)
    calibration = replace(
        calibration,
        data=_counted(names),
        reviews=len(logits.targets),
        ece_before=_ece(logits.calibrated(Calibration(temperature=1.0)), logits.targets),
        ece_after=_ece(_cross_fitted(logits, films), logits.targets),
    )
    thresholds = find_thresholds(final.max(axis=1), final.argmax(axis=1) == logits.targets)
    return replace(group, calibration=calibration, thresholds=thresholds)


def _default_risk(groups: Sequence[LengthGroup]) -> float:
    """Return the lowest of RISKS from USUAL_RISK to MAX_DEFAULT_RISK that every group can keep.

    If there is none, the lowest that the longest texts can keep; else MAX_DEFAULT_RISK, which makes
    their verdicts "unsure".
    """
    for candidates in (groups, groups[-1:]):
        for risk in RISKS:
            if USUAL_RISK <= risk <= MAX_DEFAULT_RISK and all(
                group.threshold(risk) is not None for group in candidates
            ):
                return risk
    return MAX_DEFAULT_RISK


def _counted(names: NDArray[np.str_]) -> str:
    """Return the distinct `names`, with their counts if there are several."""
    counts = Counter(names.tolist())
    if len(counts) == 1:
        return str(names[0])
    return " and ".join(f"{name} ({count:,})" for name, count in counts.most_common())


def _with_note(card: str, data: str) -> str:
    """Return `card` with a note below its title that calibration and thresholds are newer."""
    note = f"{_NOTE} on {data}: the figures below on calibration and thresholds are outdated."
    lines = [line for line in card.split("\n") if not line.startswith(_NOTE)]
    title = next((n for n, line in enumerate(lines) if line.startswith("# ")), -1)
    return "\n".join([*lines[: title + 1], note, *lines[title + 1 :]])


def _logits(batches: Sequence[ScoredTexts], targets: NDArray[np.int64]) -> _Logits:
    return _Logits(
        logits=np.concatenate([batch.logits for batch in batches]),
        windows=np.concatenate([batch.windows for batch in batches]),
        tokens=np.concatenate([batch.tokens for batch in batches]),
        targets=targets,
    )


def _fit(logits: _Logits) -> Calibration:
    """Fit temperature and window exponent by maximum a posteriori.

    Temperature scaling (Guo et al. 2017, "On Calibration of Modern Neural Networks") with a second
    parameter for the windows of long texts. A bias per label does not lower the cross-validated
    log-loss of either length group. Weak normal priors around temperature 1 and exponent 0 keep the
    fit finite if the reviews are few, without errors, or all short.
    """

    def loss(point: NDArray[np.float64]) -> float:
        calibrated = logits.calibrated(_calibration(point))
        of_target = calibrated[np.arange(len(logits.targets)), logits.targets]
        log_loss = -np.log(np.maximum(of_target, np.finfo(np.float64).tiny)).sum()
        return float(log_loss + point[0] ** 2 / 2 + (2 * point[1]) ** 2 / 2)

    return _calibration(minimize(loss, np.zeros(2), method="Nelder-Mead").x)


def _calibration(point: NDArray[np.float64]) -> Calibration:
    return Calibration(temperature=float(np.exp(point[0])), window_exponent=float(point[1]))


def _cross_fitted(logits: _Logits, films: NDArray[np.str_]) -> NDArray[np.float64]:
    """Return probabilities (n, labels), each calibrated on the other folds by film."""
    names = sorted(set(films.tolist()))
    random.Random(0).shuffle(names)
    folds = {name: n % _FOLDS for n, name in enumerate(names)}
    fold = np.array([folds[film] for film in films.tolist()])
    calibrated = np.empty_like(logits.logits)
    for n in range(min(_FOLDS, len(names))):
        calibrated[fold == n] = logits[fold == n].calibrated(_fit(logits[fold != n]))
    return calibrated


def _ece(probabilities: NDArray[np.float64], targets: NDArray[np.int64]) -> float:
    return calibration_error(probabilities.argmax(axis=1) == targets, probabilities.max(axis=1))
