"""The gate: compare a challenger with the champion, text by text, and find regressions.

Every check asks of each text whether a model does well on it: whether the label is correct, the
verdict not wrong, or the answer stable under a change that preserves the opinion.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from random import Random
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from reelsense.datasets.behaviours import NEUTRAL, behaviour_sentences
from reelsense.datasets.identities import template_sentences, terms_of
from reelsense.datasets.reviews import Review
from reelsense.errors import InputError
from reelsense.evaluation.fairness import TOLERANCE
from reelsense.evaluation.metrics import mcnemar
from reelsense.evaluation.perturbations import PERTURBATIONS
from reelsense.evaluation.predictions import labelled
from reelsense.evaluation.robustness import SENTENCES_PER_LABEL
from reelsense.evaluation.scorer import in_batches
from reelsense.inference.classifier import Classifier
from reelsense.prediction import UNSURE, Prediction

SIGNIFICANCE = 0.05
MIN_TEXTS = 30  # fewer never show that a model is within the margin
MAX_EXAMPLES = 3  # improvements and regressions of a check

_PERTURBATIONS = ("typos", "link and user name", "numbers and places")
_PERTURBED_TEXTS = 1000  # at most
_RESAMPLES = 10_000

Outcome = Literal["improved", "within margin", "inconclusive", "regressed"]


@dataclass(frozen=True, slots=True)
class Margins:
    """By how much the shares of a challenger may be lower than those of the champion."""

    labels: float = 0.01  # correct labels, and verdicts that are not wrong
    coverage: float = 0.05  # verdicts other than "unsure"
    robustness: float = 0.02  # behaviours, identity terms and perturbations


@dataclass(frozen=True, slots=True)
class Change:
    """A text on which only one of the models does well."""

    text: str
    champion: str  # its answer
    challenger: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """The comparison on one set of texts. Figures are shares between 0 and 1."""

    name: str
    texts: int
    champion: float  # share of texts on which it does well
    challenger: float
    low: float  # 95 % bootstrap interval of the difference
    high: float
    p_value: float  # of McNemar's exact test
    margin: float
    improvements: int  # texts on which only the challenger does well
    regressions: int  # texts on which only the champion does
    improved: list[Change]  # examples
    regressed: list[Change]

    @property
    def difference(self) -> float:
        """How much better the challenger is."""
        return self.challenger - self.champion

    @property
    def outcome(self) -> Outcome:
        """The outcome that the figures imply."""
        if self.p_value < SIGNIFICANCE:
            if self.difference < -self.margin:
                return "regressed"
            if self.difference > 0:
                return "improved"
        if self.low >= -self.margin and self.texts >= MIN_TEXTS:
            return "within margin"
        return "inconclusive"

    def content(self) -> dict[str, Any]:
        """Return the figures and the examples, for JSON."""
        return asdict(self) | {"difference": self.difference, "outcome": self.outcome}

    def figures(self) -> dict[str, Any]:
        """Return the figures without texts, for JSON."""
        texts = ("improved", "regressed")
        return {key: value for key, value in self.content().items() if key not in texts}


@dataclass(frozen=True, slots=True, eq=False)
class ModelAnswers:
    """The answers of a model to some texts (n)."""

    good: NDArray[np.bool_]
    shown: Sequence[str]  # the answers, for people


def compare(
    name: str, margin: float, texts: Sequence[str], champion: ModelAnswers, challenger: ModelAnswers
) -> Check:
    """Compare what two models do on the same `texts` (n), which must not be empty."""
    improved, regressed = challenger.good & ~champion.good, champion.good & ~challenger.good
    more, fewer = int(improved.sum()), int(regressed.sum())
    low, high = bootstrap_interval(more, fewer, len(texts))

    def examples(changed: NDArray[np.bool_]) -> list[Change]:
        first = np.flatnonzero(changed)[:MAX_EXAMPLES]
        return [Change(texts[n], champion.shown[n], challenger.shown[n]) for n in first]

    return Check(
        name=name,
        texts=len(texts),
        champion=float(champion.good.mean()),
        challenger=float(challenger.good.mean()),
        low=low,
        high=high,
        p_value=mcnemar(more, fewer),
        margin=margin,
        improvements=more,
        regressions=fewer,
        improved=examples(improved),
        regressed=examples(regressed),
    )


def bootstrap_interval(more: int, fewer: int, texts: int) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the difference of two shares of the same `texts`.

    `more` texts speak for the challenger and `fewer` for the champion. Resampling texts is drawing
    these two counts from a multinomial distribution.
    """
    shares = np.array([more, fewer, texts - more - fewer]) / texts
    drawn = np.random.default_rng(0).multinomial(texts, shares, size=_RESAMPLES)
    low, high = np.quantile((drawn[:, 0] - drawn[:, 1]) / texts, (0.025, 0.975))
    return float(low), float(high)


@dataclass(frozen=True, slots=True)
class Gate:
    """Two models with the same labels, and the margins of the comparison."""

    champion: Classifier
    challenger: Classifier
    margins: Margins = Margins()

    def __post_init__(self) -> None:
        """Raise InputError (code `labels-differ`) if the models cannot be compared."""
        if self.challenger.labels != self.champion.labels:
            raise InputError(
                f"the challenger has the labels {list(self.challenger.labels)}, the champion "
                f"{list(self.champion.labels)}: use another model directory for it",
                code="labels-differ",
            )

    def check(self, sets: Sequence[tuple[str, Sequence[Review]]]) -> list[Check]:
        """Compare the models on labelled sets, which have a name, and on the robustness rows.

        Raises InputError if a set has an unknown label, or a text that cannot be scored.
        """
        for _, reviews in sets:
            labelled(reviews, self.champion.labels)
        margin = self.margins.labels
        checks = [c for name, reviews in sets for c in self._labelled(name, reviews, margin)]
        texts = [review.text for _, reviews in sets for review in reviews]
        checks += self._perturbations(Random(0).sample(texts, min(_PERTURBED_TEXTS, len(texts))))
        if {"negative", "positive"} <= set(self.champion.labels):
            checks += [*self._behaviours(), self._identity_terms()]
        return checks

    def _compare(
        self,
        name: str,
        margin: float,
        texts: Sequence[str],
        answers: Callable[[Classifier], ModelAnswers],
    ) -> Check:
        return compare(name, margin, texts, answers(self.champion), answers(self.challenger))

    def _labelled(self, name: str, reviews: Sequence[Review], margin: float) -> Iterator[Check]:
        texts = [review.text for review in reviews]
        labels = [review.label for review in reviews]
        predictions = [_predict(model, texts, name) for model in (self.champion, self.challenger)]

        def check(
            measure: str, margin: float, is_good: Callable[[Prediction, str | None], bool]
        ) -> Check:
            champion, challenger = (
                ModelAnswers(
                    np.array([*map(is_good, of_model, labels)]), [*map(_verdict, of_model)]
                )
                for of_model in predictions
            )
            return compare(f"{name}: {measure}", margin, texts, champion, challenger)

        yield check("correct labels", margin, lambda p, label: p.label == label)
        if any(prediction.verdict == UNSURE for of_model in predictions for prediction in of_model):
            yield check("no wrong verdicts", margin, lambda p, label: p.verdict in (label, UNSURE))
            yield check("not unsure", self.margins.coverage, lambda p, _: p.verdict != UNSURE)

    def _perturbations(self, texts: Sequence[str]) -> Iterator[Check]:
        for perturbation in PERTURBATIONS:
            if perturbation.name not in _PERTURBATIONS:
                continue
            pairs = [
                (text, altered)
                for n, text in enumerate(texts)
                if (altered := perturbation.change(text, Random(f"{perturbation.name}-{n}")))
                != text
            ]
            if pairs:
                yield self._compare(
                    f"same label with {perturbation.name}",
                    self.margins.robustness,
                    [altered for _, altered in pairs],
                    partial(_stability, pairs),
                )

    def _behaviours(self) -> Iterator[Check]:
        for behaviour in behaviour_sentences("measuring", SENTENCES_PER_LABEL):
            sentences = [s for s in behaviour.sentences if s.label != NEUTRAL]
            if sentences:
                reviews = [Review("", s.text, s.label, None, "") for s in sentences]
                yield next(self._labelled(behaviour.name, reviews, self.margins.robustness))

    def _identity_terms(self) -> Check:
        """Check whether the term in a sentence moves the probability of "positive"."""
        sets = []
        for sentence in template_sentences("measuring"):
            terms = [t for t in terms_of(sentence.category, sentence.form) if t.held_out]
            if len(terms) > 1:
                sets.append(sentence.texts(terms))

        def answers(model: Classifier) -> ModelAnswers:
            predictions = iter(_predict(model, [t for texts in sets for t in texts], "identity"))
            ranges = []
            for texts in sets:
                positive = [next(predictions).positive for _ in texts]
                ranges.append((min(positive), max(positive)))
            return ModelAnswers(
                np.array([high - low <= TOLERANCE for low, high in ranges]),
                [f"positive from {low:.0%} to {high:.0%}" for low, high in ranges],
            )

        name = "same probability with other identity terms"
        return self._compare(name, self.margins.robustness, [texts[0] for texts in sets], answers)


def _stability(pairs: Sequence[tuple[str, str]], model: Classifier) -> ModelAnswers:
    """Return whether `model` gives the same label to both texts of each pair."""
    before = _predict(model, [text for text, _ in pairs], "originals")
    after = _predict(model, [altered for _, altered in pairs], "altered texts")
    labels = [(old.label, new.label) for old, new in zip(before, after, strict=True)]
    shown = [f"{old}, then {new}" for old, new in labels]
    return ModelAnswers(np.array([old == new for old, new in labels]), shown)


def _predict(model: Classifier, texts: Sequence[str], title: str) -> list[Prediction]:
    batches = in_batches(model.predict, texts, title)
    return [prediction for batch in batches for prediction in batch]


def _verdict(prediction: Prediction) -> str:
    unsure = f"{UNSURE}, " if prediction.verdict == UNSURE else ""
    return f"{unsure}{prediction.label} {prediction.score:.0%}"
