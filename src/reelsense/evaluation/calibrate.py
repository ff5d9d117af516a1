"""Fit on validation texts what turns logits into honest probabilities and verdicts.

Short texts differ from long ones: a model trained on reviews is more often wrong, and surer of
itself, on a single sentence. Calibration and decision thresholds are therefore fitted by length
group, on the texts of that group alone.

Calibration is temperature scaling (Guo et al. 2017, "On Calibration of Modern Neural Networks",
https://arxiv.org/abs/1706.04599) with a second number for the windows of long texts. A bias for
each label was tried: in cross-validation it does not lower the log-loss of either length group.

Thresholds are found by `thresholds`. What holds with the stated confidence is each threshold by
itself: for texts of its length group, at its target error rate. The level is not divided by the
number of groups, so all groups keep to a target error rate together with a confidence of at least
1 - groups x (1 - confidence). The guarantee takes the order of the probabilities as given; the two
numbers of the calibration are fitted on the same texts. Cross-fitted probabilities were tried
instead: in simulations both keep the promise, and these decide less.
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
from tqdm import tqdm

from reelsense.bundle import Bundle, Calibration, LengthGroup, Manifest, RiskControl
from reelsense.datasets.evaluation_sets import (
    PHRASES,
    VALIDATION_SENTENCES,
    read_validation_sentences,
)
from reelsense.datasets.reviews import Review
from reelsense.errors import InputError, TextError
from reelsense.evaluation.metrics import calibration_error
from reelsense.evaluation.predictions import labelled, unreadable
from reelsense.evaluation.thresholds import CONFIDENCE, METHOD, RISKS, find_thresholds
from reelsense.inference.calibration import probabilities
from reelsense.inference.classifier import Classifier

USUAL_RISK = 0.02
"""The default of a bundle, or the next higher risk that every length group can keep."""

LENGTHS = (("sentence", 64), ("short", 128))
"""Length groups and their `max_tokens`, but for the last one. All of SST-2's sentences have 64
tokens at most, 3 % of IMDb's reviews do."""

MIN_TEXTS = 1000
"""Labelled texts that a length group needs. If 650 of them can be decided with 1 % errors, a
threshold for 2 % is found every other time; with 400 texts hardly ever, and with less than 160
decided answers never. A group with fewer texts is merged with the next longer one, the last with
the one before it."""

_NOTE = "> Calibrated anew"

_FOLDS = 10

_SLICE = 256


@dataclass(frozen=True, slots=True)
class ValidationSet:
    """Labelled texts that the model was not trained on."""

    name: str
    """What they are, for people."""
    reviews: Sequence[Review]


def sentence_set(folder: Path) -> ValidationSet:
    """Read the validation sentences of the evaluation sets in `folder`. Raises DatasetError."""
    return ValidationSet(VALIDATION_SENTENCES, read_validation_sentences(folder))


def check_unseen(manifest: Manifest, sets: Sequence[ValidationSet]) -> None:
    """Raise InputError if the model is known to have been trained on one of `sets`."""
    trained_on = manifest.provenance.get("extra_examples", {})
    if PHRASES in trained_on and any(each.name == VALIDATION_SENTENCES for each in sets):
        raise InputError(
            f"{manifest.name} was trained on {PHRASES}, {VALIDATION_SENTENCES} included: calibrate "
            "it without them, or on sentences of your own"
        )


@dataclass(frozen=True, slots=True)
class _Answers:
    """What the network said of labelled texts (n), before calibration."""

    logits: NDArray[np.float64]
    """(n, labels)."""
    windows: NDArray[np.int64]
    tokens: NDArray[np.int64]
    targets: NDArray[np.int64]
    """Index of the true label."""

    def __getitem__(self, chosen: NDArray[np.bool_]) -> _Answers:
        return _Answers(
            self.logits[chosen], self.windows[chosen], self.tokens[chosen], self.targets[chosen]
        )

    def calibrated(self, calibration: Calibration) -> NDArray[np.float64]:
        return probabilities(self.logits, self.windows, calibration)


def calibrate(bundle: Bundle, classifier: Classifier, sets: Sequence[ValidationSet]) -> Bundle:
    """Return `bundle` with calibration and thresholds fitted by length group on all of `sets`.

    Args:
        bundle: What is calibrated; an earlier calibration is replaced.
        classifier: The bundle's.
        sets: Texts that the model was not trained on. They should be drawn like the texts to come:
            thresholds keep their promise for such texts alone.

    Returns:
        The bundle without its evaluation, which was of the former calibration.

    Raises:
        InputError: A set holds no labels, one that the model lacks, a text that cannot be read, or
            texts that the model was trained on.

    """
    check_unseen(bundle.manifest, sets)
    known = [labelled(each.reviews, classifier.labels) for each in sets]
    reviews = [review for part in known for review in part.reviews]
    targets = np.concatenate([part.targets for part in known])
    names = np.repeat([each.name for each in sets], [len(part.reviews) for part in known])
    films = np.array([review.group for review in reviews])
    answers = _score(classifier, reviews, targets)
    groups = []
    for group, chosen in _length_groups(answers.tokens):
        groups.append(_fitted(group, answers[chosen], films[chosen], names[chosen]))
    *shorter, longest = groups
    control = RiskControl(
        method=METHOD,
        confidence=CONFIDENCE,
        reviews=int(chosen.sum()),
        default_risk=_default_risk(groups),
        thresholds=longest.thresholds,
    )
    manifest = replace(
        bundle.manifest,
        calibration=longest.calibration,
        risk_control=control,
        length_groups=tuple(shorter),
    )
    card = _with_note(bundle.card, f"{_counted(names)} ({len(reviews):,} reviews)")
    return replace(bundle, manifest=manifest, card=card, evaluation=None)


def _length_groups(tokens: NDArray[np.int64]) -> Iterator[tuple[LengthGroup, NDArray[np.bool_]]]:
    """Yield the length groups of texts of so many `tokens` (n), yet empty, and which texts (n).

    A bound of LENGTHS parts two groups if both keep MIN_TEXTS.
    """
    longer = np.full(len(tokens), True)
    for name, max_tokens in LENGTHS:
        chosen = longer & (tokens <= max_tokens)
        if min(chosen.sum(), (longer & ~chosen).sum()) >= MIN_TEXTS:
            yield LengthGroup(name=name, max_tokens=max_tokens), chosen
            longer &= ~chosen
    yield LengthGroup(name="all" if longer.all() else "long", max_tokens=None), longer


def _fitted(
    group: LengthGroup, answers: _Answers, films: NDArray[np.str_], names: NDArray[np.str_]
) -> LengthGroup:
    """Return `group` with calibration and thresholds.

    `films` and `names` say of each of the `answers` (n) what it is about and which set it is from.
    """
    calibration = _fit(answers)
    final = answers.calibrated(calibration)
    calibration = replace(
        calibration,
        data=_counted(names),
        reviews=len(answers.targets),
        ece_before=_error(answers.calibrated(Calibration(temperature=1.0)), answers.targets),
        ece_after=_error(_cross_fitted(answers, films), answers.targets),
    )
    thresholds = find_thresholds(final.max(axis=1), final.argmax(axis=1) == answers.targets)
    return replace(group, calibration=calibration, thresholds=thresholds)


def _default_risk(groups: Sequence[LengthGroup]) -> float | None:
    """Return the lowest of RISKS, USUAL_RISK at least, that every group can keep.

    If there is none, the one that the longest texts can keep; None if they cannot keep any.
    """
    for some in (groups, groups[-1:]):
        for risk in RISKS:
            if risk >= USUAL_RISK and all(group.threshold(risk) is not None for group in some):
                return risk
    return None


def _counted(names: NDArray[np.str_]) -> str:
    """Return the distinct `names`, with the number of each if there are several."""
    counts = Counter(names.tolist())
    if len(counts) == 1:
        return str(names[0])
    return " and ".join(f"{name} ({count:,})" for name, count in counts.most_common())


def _with_note(card: str, data: str) -> str:
    """`card`, saying below its title that probabilities and thresholds are newer than it is."""
    note = f"{_NOTE} on {data}: what is said below of probabilities and thresholds is older."
    lines = [line for line in card.split("\n") if not line.startswith(_NOTE)]
    title = next((n for n, line in enumerate(lines) if line.startswith("# ")), -1)
    return "\n".join([*lines[: title + 1], note, *lines[title + 1 :]])


def _score(
    classifier: Classifier, reviews: Sequence[Review], targets: NDArray[np.int64]
) -> _Answers:
    scored = []
    with tqdm(total=len(reviews), desc="calibrating", unit=" reviews") as bar:
        for start in range(0, len(reviews), _SLICE):
            texts = [review.text for review in reviews[start : start + _SLICE]]
            try:
                scored.append(classifier.score(texts, start))
            except TextError as error:
                raise unreadable(reviews, error) from error
            bar.update(len(texts))
    return _Answers(
        logits=np.concatenate([each.logits for each in scored]),
        windows=np.concatenate([each.windows for each in scored]),
        tokens=np.concatenate([each.tokens for each in scored]),
        targets=targets,
    )


def _fit(answers: _Answers) -> Calibration:
    """The two numbers that make the true labels most probable.

    Weak normal priors around (1, 0) decide where the reviews cannot: a handful, none of them wrong,
    or none of them long.
    """

    def loss(point: NDArray[np.float64]) -> float:
        found = answers.calibrated(_calibration(point))
        of_truth = found[np.arange(len(answers.targets)), answers.targets]
        unlikely = -np.log(np.maximum(of_truth, np.finfo(np.float64).tiny)).sum()
        return float(unlikely + point[0] ** 2 / 2 + (2 * point[1]) ** 2 / 2)

    return _calibration(minimize(loss, np.zeros(2), method="Nelder-Mead").x)


def _calibration(point: NDArray[np.float64]) -> Calibration:
    return Calibration(temperature=float(np.exp(point[0])), window_exponent=float(point[1]))


def _cross_fitted(answers: _Answers, films: NDArray[np.str_]) -> NDArray[np.float64]:
    """Return probabilities (n, labels), each calibrated on the other folds of the `films` (n)."""
    names = sorted(set(films.tolist()))
    random.Random(0).shuffle(names)
    folds = {name: n % _FOLDS for n, name in enumerate(names)}
    fold = np.array([folds[film] for film in films.tolist()])
    found = np.empty_like(answers.logits)
    for n in range(min(_FOLDS, len(names))):
        found[fold == n] = answers[fold == n].calibrated(_fit(answers[fold != n]))
    return found


def _error(found: NDArray[np.float64], targets: NDArray[np.int64]) -> float:
    return calibration_error(found.argmax(axis=1) == targets, found.max(axis=1))
