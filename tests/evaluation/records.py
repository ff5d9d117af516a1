"""Records of evaluations, for tests of what is rendered from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from reelsense.bundle import Calibration, Manifest, Provenance
from reelsense.datasets import imdb
from reelsense.datasets.evaluation_sets import Audit, EvaluationSets, PairedReviews
from reelsense.datasets.reviews import Review
from reelsense.evaluation.evaluate import (
    EvaluationData,
    EvaluationOptions,
    evaluate,
    make_record,
)
from reelsense.prediction import ScoredTexts
from reelsense.report.record import EvaluationRecord
from reelsense.report.results import BehaviourErrors
from tests import tiny

BERT = "google-bert/bert-base-uncased"
LOSSES = {
    "loss": [[1, 0.7], [2, 0.4]],
    "validation": [{"epoch": 1, "step": 2, "loss": 0.3, "accuracy": 0.875}],
}
ON_IMDB = Provenance(data=imdb.NAME, recipe={"base": BERT, "epochs": 3}, curves=LOSSES)
MANIFEST = Manifest(
    name="tiny",
    labels=("negative", "positive"),
    window=16,
    calibration=Calibration(temperature=1.25, reviews=77, ece_before=0.06, ece_after=0.01),
    risk_control=tiny.RISKS,
    provenance=ON_IMDB,
    version="0123456789ab",
)


class Biased:
    """Predicts positive for "good", negative for "bad"; "Shia" makes texts less positive."""

    labels = ("negative", "positive")

    def predict_proba(self, texts: Sequence[str]) -> NDArray[np.float64]:
        moods = [
            0.2 + 3 * ("good" in text.lower()) - 3 * ("bad" in text.lower()) - ("Shia" in text)
            for text in texts
        ]
        positive = 1 / (1 + np.exp(-np.array(moods, dtype=np.float64)))
        return np.stack([1 - positive, positive], axis=1)


class WordCounting(Biased):
    """Counts words as tokens."""

    def score(self, texts: Sequence[str]) -> ScoredTexts:
        probabilities = self.predict_proba(texts)
        tokens = np.array([len(text.split()) for text in texts])
        return ScoredTexts(
            probabilities=probabilities,
            stars=None,
            tokens=tokens,
            groups=np.zeros_like(tokens),
            logits=np.log(probabilities),
            star_logits=np.empty((len(texts), 0)),
            windows=np.ones_like(tokens),
        )


def review(name: str, text: str, label: str, rating: int | None = None) -> Review:
    return Review(name, text, label, rating, group=name)


# Every text contains "zebra", to detect texts where there should be none.
REVIEWS = [
    *(
        review(f"test/pos/{n}_9.txt", f"Zebra {n}: good, isn't it?", "positive", 9)
        for n in range(9)
    ),
    *(review(f"test/neg/{n}_2.txt", f"Zebra {n}: bad.", "negative", 2) for n in range(9)),
    review("test/neg/9_4.txt", "<script>alert(1)</script> A good zebra & co.", "negative", 4),
    review("test/pos/9_7.txt", "A Muslim family and its bad zebra. " * 30, "positive", 7),
]
SETS = EvaluationSets(
    pairs=[PairedReviews("contrast sets", REVIEWS[:2], REVIEWS[9:11])],
    single_sentences=[*REVIEWS[:2], review("s", "a good zebra dies", "negative")],
    audit={"test/neg/9_4.txt": Audit.FLIPPED},
)


GROUPED_MANIFEST = replace(MANIFEST, length_groups=(tiny.SENTENCES,))


def make(
    manifest: Manifest = MANIFEST, scorer: Biased | None = None, *, quick: bool = False
) -> EvaluationRecord:
    """Return all results for a biased model, or the quick ones."""
    data = EvaluationData(reviews=REVIEWS, sets=SETS, training_texts={REVIEWS[0].text})
    other = None if quick else ("bag-of-words", Biased())
    options = EvaluationOptions(quick=quick, compare_to=other)
    results, predictions = evaluate(scorer or Biased(), data, manifest.groups, options)
    return make_record(results, predictions, manifest, f"the official test part of {imdb.NAME}")


def negation(record: EvaluationRecord) -> BehaviourErrors:
    """Return the results on sentences with a negation."""
    assert record.evaluation.behaviours is not None
    return next(row for row in record.evaluation.behaviours.errors if row.name == "negation")
