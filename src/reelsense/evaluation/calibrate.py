"""Find on held-out reviews how to make probabilities honest, and when to say "unsure".

Calibration is temperature scaling (Guo et al. 2017, "On Calibration of Modern Neural Networks",
https://arxiv.org/abs/1706.04599) with a second number for the windows of long reviews.

Thresholds are found by Learn then Test (Angelopoulos, Bates, Candes, Jordan and Lei 2021,
https://arxiv.org/abs/2110.01052) with exact binomial p-values and fixed-sequence testing from two
starting points: from a high threshold down, as long as a test rejects "more than the risk of those
decided are wrong". Where a sequence begins depends on the risk alone, so that the guarantee holds
for any finite number of reviews drawn like the ones to come. It takes the order of the
probabilities as given; the two numbers of the calibration are fitted on the same reviews.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import binom
from tqdm import tqdm

from reelsense.bundle import Bundle, Calibration, RiskControl, Threshold
from reelsense.datasets.reviews import Review
from reelsense.errors import TextError
from reelsense.evaluation.judged import Labelled, labelled, unreadable
from reelsense.evaluation.metrics import calibration_error
from reelsense.inference.calibration import probabilities
from reelsense.inference.classifier import Classifier

RISKS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2)
"""Those that a bundle carries thresholds for."""

CONFIDENCE = 0.95

USUAL_RISK = 0.02
"""The default of a bundle, or the next higher risk that can be kept."""

METHOD = (
    "Learn then Test (Angelopoulos et al. 2021, arXiv:2110.01052), exact binomial p-values, "
    "fixed-sequence testing from two starting points"
)

_STARTS = (1.0, 2.0)
"""The sequences begin where a calibrated answer is wrong with so many times the risk. The mean
above is lower: by half in a poor model, by far in a good one, which may have hardly an answer that
is surer than 1 - risk."""

_NOTE = "> Calibrated anew"

_STEP = 0.001
"""Between two thresholds that are tried."""

_SLICE = 256


@dataclass(frozen=True, slots=True)
class _Answers:
    """What the network said of labelled reviews, before calibration."""

    logits: NDArray[np.float64]
    windows: NDArray[np.int64]
    wanted: NDArray[np.int64]
    """Index of the true label."""

    def __getitem__(self, chosen: NDArray[np.bool_]) -> _Answers:
        return _Answers(self.logits[chosen], self.windows[chosen], self.wanted[chosen])

    def calibrated(self, calibration: Calibration) -> NDArray[np.float64]:
        return probabilities(self.logits, self.windows, calibration)


def calibrate(
    bundle: Bundle, classifier: Classifier, held_out: Sequence[Review], *, data: str
) -> Bundle:
    """Return `bundle` with calibration and thresholds fitted on `held_out`.

    `classifier` is the bundle's; `data` says for people what the reviews are. They must not have
    been learned from. Raises InputError if none carries a label, or one that the model lacks.
    """
    known = labelled(held_out, classifier.labels)
    answers = _score(classifier, known)
    calibration = _fit(answers)
    final = answers.calibrated(calibration)
    halved = _by_halves(answers, [review.group for review in known.reviews])
    calibration = replace(
        calibration,
        data=data,
        reviews=len(known.reviews),
        ece_before=_error(answers.calibrated(Calibration(temperature=1.0)), answers.wanted),
        ece_after=_error(halved, answers.wanted),
    )
    risk_control = control_risk(final.max(axis=1), final.argmax(axis=1) == answers.wanted)
    manifest = replace(bundle.manifest, calibration=calibration, risk_control=risk_control)
    card = _with_note(bundle.card, calibration)
    return replace(bundle, manifest=manifest, card=card, report=None)  # it was of the former


def _with_note(card: str, calibration: Calibration) -> str:
    """`card`, saying below its title that probabilities and thresholds are newer than it is."""
    note = (
        f"{_NOTE} on {calibration.data} ({calibration.reviews:,} reviews): what is said below of "
        "probabilities and thresholds is older."
    )
    lines = [line for line in card.split("\n") if not line.startswith(_NOTE)]
    title = next((n for n, line in enumerate(lines) if line.startswith("# ")), -1)
    return "\n".join([*lines[: title + 1], note, *lines[title + 1 :]])


def _score(classifier: Classifier, known: Labelled) -> _Answers:
    reviews = known.reviews
    logits, windows = [], []
    with tqdm(total=len(reviews), desc="calibrating", unit=" reviews") as bar:
        for start in range(0, len(reviews), _SLICE):
            texts = [review.text for review in reviews[start : start + _SLICE]]
            try:
                scored = classifier.score(texts, start)
            except TextError as error:
                raise unreadable(reviews, error) from error
            logits.append(scored.logits)
            windows.append(scored.windows)
            bar.update(len(texts))
    return _Answers(np.concatenate(logits), np.concatenate(windows), known.wanted)


def _fit(answers: _Answers) -> Calibration:
    """The two numbers that make the true labels most probable.

    Weak normal priors around (1, 0) decide where the reviews cannot: a handful, none of them wrong,
    or none of them long.
    """

    def loss(point: NDArray[np.float64]) -> float:
        found = answers.calibrated(_calibration(point))
        of_truth = found[np.arange(len(answers.wanted)), answers.wanted]
        unlikely = -np.log(np.maximum(of_truth, np.finfo(np.float64).tiny)).sum()
        return float(unlikely + point[0] ** 2 / 2 + (2 * point[1]) ** 2 / 2)

    return _calibration(minimize(loss, np.zeros(2), method="Nelder-Mead").x)


def _calibration(point: NDArray[np.float64]) -> Calibration:
    return Calibration(temperature=float(np.exp(point[0])), window_exponent=float(point[1]))


def _by_halves(answers: _Answers, groups: Sequence[str]) -> NDArray[np.float64]:
    """Probabilities calibrated on one half of the groups and given to the other."""
    names = sorted(set(groups))
    first = set(random.Random(0).sample(names, len(names) // 2))
    half = np.array([group in first for group in groups])
    found = np.empty_like(answers.logits)
    for part in (half, ~half):
        found[part] = answers[part].calibrated(_fit(answers[~part]))
    return found


def _error(found: NDArray[np.float64], wanted: NDArray[np.int64]) -> float:
    return calibration_error(found.argmax(axis=1) == wanted, found.max(axis=1))


def control_risk(scores: NDArray[np.float64], correct: NDArray[np.bool_]) -> RiskControl:
    """Find a threshold for each of RISKS from the probability of each answer (n), and its truth.

    A risk that cannot be kept with CONFIDENCE gets None.
    """
    thresholds: list[Threshold] = []
    least = np.inf
    for risk in RISKS:  # what keeps to a risk keeps to every higher one
        reached = (_sequence(scores, correct, risk, 1 - times * risk) for times in _STARTS)
        least = min(least, *reached)
        thresholds.append(Threshold(risk, least if least <= 1 else None))
    kept = [each.risk for each in thresholds if each.score is not None and each.risk >= USUAL_RISK]
    return RiskControl(
        method=METHOD,
        confidence=CONFIDENCE,
        reviews=len(scores),
        default_risk=min(kept, default=None),
        thresholds=tuple(thresholds),
    )


def _sequence(
    scores: NDArray[np.float64], correct: NDArray[np.bool_], risk: float, start: float
) -> float:
    """The lowest threshold that a sequence of tests reaches; infinity if the first one fails."""
    level = (1 - CONFIDENCE) / len(_STARTS)
    reached = np.inf
    for threshold in np.arange(start, -_STEP / 2, -_STEP):
        decided = scores >= threshold
        # The chance of so few wrong ones among so many if the risk were just the one that is named.
        if binom.cdf((decided & ~correct).sum(), decided.sum(), risk) > level:
            break
        reached = max(round(float(threshold), 3), 0.0)
        if decided.all():
            return 0.0
    return reached
