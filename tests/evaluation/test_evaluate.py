from __future__ import annotations

import json
import re
from dataclasses import asdict

import numpy as np
import pytest
from numpy.typing import NDArray

from reelsense.datasets.evaluation_sets import Audit, EvaluationSets, PairedReviews
from reelsense.datasets.identities import categories
from reelsense.datasets.reviews import Review
from reelsense.errors import InputError
from reelsense.evaluation.evaluate import EvaluationData, EvaluationOptions, evaluate
from reelsense.evaluation.perturbations import PERTURBATIONS
from reelsense.evaluation.summary import as_text
from reelsense.inference.classifier import Classifier
from reelsense.report.results import ALL_CATEGORIES, Evaluation
from tests import tiny


def reviews(*cases: tuple[str, str | None], rating: int | None = None) -> list[Review]:
    return [Review(f"r{n}", *case, rating, str(n)) for n, case in enumerate(cases)]


REVIEWS = reviews(
    *[("the film was good", "positive"), ("the film was bad", "negative")] * 8,
    ("a great good film", "negative"),
    ("a bad awful film", "positive"),
    ("the film", None),
    rating=7,
)
ORIGINALS = reviews(("a good film", "positive"), ("an awful film", "negative"))
EDITS = reviews(("a bad film", "negative"), ("an awful film", "positive"))
SETS = EvaluationSets(
    pairs=[PairedReviews("edited reviews", ORIGINALS, EDITS)],
    single_sentences=reviews(("good", "positive"), ("great good", "positive"), ("bad", "positive")),
    audit={"r16": Audit.FLIPPED, "r17": Audit.UNCLEAR},
)


def full_evaluation() -> Evaluation:
    data = EvaluationData(reviews=REVIEWS, sets=SETS, training_texts={"a bad awful film"})
    scorer = tiny.cautious_classifier()
    results, _ = evaluate(
        scorer,
        data,
        scorer.manifest.groups,
        EvaluationOptions(compare_to=("itself", tiny.classifier())),
    )
    return results


def test_evaluate_measures_everything() -> None:
    results = full_evaluation()
    assert results.metrics.reviews == 18
    assert results.metrics.accuracy == pytest.approx(16 / 18)
    assert [(row.accuracy.count, row.accuracy.total) for row in results.label_views] == [
        (16, 18), (17, 17), (16, 17)
    ]  # fmt: skip
    at_80 = results.accuracy_at_80_coverage
    assert (at_80.count, at_80.total) == (12, 14)
    assert [(row.coverage.count, row.selective_error.count) for row in results.selective] == [
        (0, 0), (2, 2), (18, 2)
    ]  # fmt: skip
    assert [row.accuracy.total for row in results.by_length] == [18]
    assert [row.name for row in results.by_rating] == ["7"]
    assert [row.name for row in results.label_changes] == [row.name for row in PERTURBATIONS]
    assert [(p.name, p.originals.count, p.edits.count, p.both.count) for p in results.pairs] == [
        ("edited reviews", 2, 1, 1)
    ]
    assert results.single_sentences is not None
    assert results.single_sentences.metrics.accuracy == pytest.approx(2 / 3)
    sentences = results.single_sentences.selective
    assert [(row.coverage.count, row.selective_error.count) for row in sentences] == [
        (0, 0), (1, 0), (3, 1)
    ]  # fmt: skip
    assert [row.category for row in results.identity] == 2 * [*categories(), ALL_CATEGORIES]
    assert {row.source for row in results.identity} == {"templates"}
    assert results.behaviours is not None
    assert {"negation", "ratings", "emoji"} <= {row.name for row in results.behaviours.errors}
    assert [row.name for row in results.behaviours.neutral] == ["facts", "undecided"]
    assert results.comparison is not None
    assert results.comparison.name == "itself"
    assert results.comparison.p_value == 1
    assert results.label_errors.audited == results.label_errors.count == 2
    assert {row.name for row in results.label_errors.likeliest} == {"r16", "r17"}
    assert results.mistakes == []


def test_evaluation_is_serializable_and_deterministic() -> None:
    first, second = (json.dumps(asdict(full_evaluation()), allow_nan=False) for _ in range(2))
    assert first == second
    assert json.loads(first)["metrics"]["accuracy"] == pytest.approx(16 / 18)


def test_evaluate_quick_skips_robustness_and_fairness() -> None:
    results, predictions = evaluate(
        tiny.classifier(),
        EvaluationData(reviews=REVIEWS, sets=SETS),
        options=EvaluationOptions(quick=True),
    )
    assert (results.label_changes, results.pairs, results.single_sentences) == ([], [], None)
    assert (results.behaviours, results.identity) == (None, [])
    assert (results.selective, results.comparison) == ([], None)
    assert [row.name for row in results.label_views] == ["original labels", "audited labels"]
    assert (~predictions.correct).sum() == 2


def test_evaluate_without_evaluation_sets() -> None:
    results, _ = evaluate(tiny.classifier(), EvaluationData(reviews=REVIEWS))
    assert (results.pairs, results.single_sentences, len(results.label_views)) == ([], None, 1)
    assert results.label_changes
    assert results.identity


def test_evaluate_three_labels() -> None:
    """Fairness and edited reviews are skipped: they need "positive" and "negative"."""

    def network(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        moods = tiny.count_moods(ids, mask)
        return np.concatenate([moods, np.full((len(moods), 1), 0.5, np.float32)], axis=1)

    labels = ("bad", "good", "mixed")
    scorer = Classifier(tiny.bundle(labels), network=network)
    cases = [("a good film", "good"), ("a bad film", "bad"), ("the film", "mixed")] * 4
    data = EvaluationData(reviews=reviews(*cases), sets=SETS)
    results, predictions = evaluate(scorer, data, tiny.cautious_classifier().manifest.groups)
    assert predictions.correct.all()
    assert results.metrics.confusion == [[4, 0, 0], [0, 4, 0], [0, 0, 4]]
    assert results.metrics.auroc is None
    assert (results.pairs, results.single_sentences, results.identity, results.mistakes) == (
        [],
        None,
        [],
        [],
    )
    assert results.behaviours is None
    assert len(results.label_changes) == len(PERTURBATIONS)


def test_evaluate_rejects_unknown_labels() -> None:
    with pytest.raises(InputError) as raised:
        evaluate(tiny.classifier(("bad", "good")), EvaluationData(reviews=REVIEWS))
    assert raised.value.code == "unknown-label"


def test_evaluate_measures_stars_if_predicted() -> None:
    """Of 7 stars, one good word is 7.97 and one bad word 2.79."""
    rated = EvaluationData(reviews=REVIEWS[:2])
    results, _ = evaluate(tiny.star_classifier(), rated, options=EvaluationOptions(quick=True))
    assert results.star_mae == pytest.approx((0.966 + 4.211) / 2, abs=0.001)
    assert re.search(r"^star MAE +2\.59$", as_text(results), re.MULTILINE)
    without, _ = evaluate(tiny.classifier(), rated, options=EvaluationOptions(quick=True))
    assert without.star_mae is None
    assert "star MAE" not in as_text(without)


def test_evaluate_by_length_group() -> None:
    """Two of the reviews have five words and more; the sentences have one or two."""
    scorer = tiny.grouped_classifier()
    longer = reviews(("a great good good film", "positive"), ("the film was not good", "negative"))
    data = EvaluationData(reviews=[*REVIEWS, *longer], sets=SETS)
    results, _ = evaluate(scorer, data, scorer.manifest.groups)
    groups = results.selective_by_length
    assert [group.name for group in groups] == ["sentence", "long"]
    assert [group.results[0].coverage.total for group in groups] == [18, 2]
    assert [row.coverage.total for row in results.selective] == [20] * 3
    assert [row.coverage.count for row in results.selective] == [0, 1, 20]
    assert results.single_sentences is not None
    [sentences] = results.single_sentences.selective_by_length
    assert (sentences.name, sentences.results) == ("sentence", results.single_sentences.selective)
    assert json.loads(json.dumps(asdict(results)))["selective_by_length"][0]["max_tokens"] == 4
    text = as_text(results)
    for title in (
        "selective prediction",
        "selective prediction, sentence (up to 4 tokens)",
        "selective prediction, long",
        "selective prediction, single sentences, sentence (up to 4 tokens)",
    ):
        assert f"\n\n{title}\ntarget error rate 1.0%" in text


def test_evaluate_measures_a_single_length_group_once() -> None:
    results = full_evaluation()
    assert results.selective_by_length == []
    assert results.single_sentences is not None
    assert results.single_sentences.selective_by_length == []
    assert "tokens" not in as_text(results)
