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


def with_everything() -> Evaluation:
    material = EvaluationData(reviews=REVIEWS, sets=SETS, training_texts={"a bad awful film"})
    scorer = tiny.cautious_classifier()
    found, _ = evaluate(
        scorer,
        material,
        scorer.manifest.groups,
        EvaluationOptions(compare_to=("itself", tiny.classifier())),
    )
    return found


def test_everything() -> None:
    found = with_everything()
    assert found.metrics.reviews == 18
    assert found.metrics.accuracy == pytest.approx(16 / 18)
    assert [(each.accuracy.count, each.accuracy.total) for each in found.label_views] == [
        (16, 18), (17, 17), (16, 17)
    ]  # fmt: skip
    assert (found.accuracy_at_80_coverage.count, found.accuracy_at_80_coverage.total) == (12, 14)
    assert [(each.coverage.count, each.selective_error.count) for each in found.selective] == [
        (0, 0), (2, 2), (18, 2)
    ]  # fmt: skip
    assert [each.accuracy.total for each in found.by_length] == [18]
    assert [each.name for each in found.by_rating] == ["7"]
    assert [each.name for each in found.label_changes] == [each.name for each in PERTURBATIONS]
    assert [(p.name, p.originals.count, p.edits.count, p.both.count) for p in found.pairs] == [
        ("edited reviews", 2, 1, 1)
    ]
    assert found.single_sentences is not None
    assert found.single_sentences.metrics.accuracy == pytest.approx(2 / 3)
    sentences = found.single_sentences.selective
    assert [(row.coverage.count, row.selective_error.count) for row in sentences] == [
        (0, 0), (1, 0), (3, 1)
    ]  # fmt: skip
    assert [each.category for each in found.identity] == 2 * [*categories(), ALL_CATEGORIES]
    assert {each.source for each in found.identity} == {"templates"}
    assert found.behaviours is not None
    assert {"negation", "ratings", "emoji"} <= {each.name for each in found.behaviours.errors}
    assert [each.name for each in found.behaviours.neutral] == ["facts", "undecided"]
    assert found.comparison is not None
    assert found.comparison.name == "itself"
    assert found.comparison.p_value == 1
    assert found.label_errors.audited == found.label_errors.count == 2
    assert {each.name for each in found.label_errors.likeliest} == {"r16", "r17"}
    assert found.mistakes == []


def test_it_goes_into_json_and_is_the_same_again() -> None:
    first, second = (json.dumps(asdict(with_everything()), allow_nan=False) for _ in range(2))
    assert first == second
    assert json.loads(first)["metrics"]["accuracy"] == pytest.approx(16 / 18)


def test_quick_leaves_robustness_and_fairness_out() -> None:
    found, predictions = evaluate(
        tiny.classifier(),
        EvaluationData(reviews=REVIEWS, sets=SETS),
        options=EvaluationOptions(quick=True),
    )
    assert (found.label_changes, found.pairs, found.single_sentences) == ([], [], None)
    assert (found.behaviours, found.identity) == (None, [])
    assert (found.selective, found.comparison) == ([], None)
    assert [each.name for each in found.label_views] == ["original labels", "audited labels"]
    assert (~predictions.correct).sum() == 2


def test_without_evaluation_sets() -> None:
    found, _ = evaluate(tiny.classifier(), EvaluationData(reviews=REVIEWS))
    assert (found.pairs, found.single_sentences, len(found.label_views)) == ([], None, 1)
    assert found.label_changes
    assert found.identity


def test_three_labels() -> None:
    """Neither fairness nor edited reviews: they are measured by "positive" and "negative"."""

    def network(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        moods = tiny.count_moods(ids, mask)
        return np.concatenate([moods, np.full((len(moods), 1), 0.5, np.float32)], axis=1)

    labels = ("bad", "good", "mixed")
    scorer = Classifier(tiny.bundle(labels), network=network)
    cases = [("a good film", "good"), ("a bad film", "bad"), ("the film", "mixed")] * 4
    material = EvaluationData(reviews=reviews(*cases), sets=SETS)
    found, predictions = evaluate(scorer, material, tiny.cautious_classifier().manifest.groups)
    assert predictions.correct.all()
    assert found.metrics.confusion == [[4, 0, 0], [0, 4, 0], [0, 0, 4]]
    assert found.metrics.auroc is None
    assert (found.pairs, found.single_sentences, found.identity, found.mistakes) == (
        [],
        None,
        [],
        [],
    )
    assert found.behaviours is None
    assert len(found.label_changes) == len(PERTURBATIONS)


def test_data_of_other_labels() -> None:
    with pytest.raises(InputError) as raised:
        evaluate(tiny.classifier(("bad", "good")), EvaluationData(reviews=REVIEWS))
    assert raised.value.code == "unknown-label"


def test_stars_where_the_model_has_them() -> None:
    """Of 7 stars, one good word is 7.97 and one bad word 2.79."""
    rated = EvaluationData(reviews=REVIEWS[:2])
    found, _ = evaluate(tiny.star_classifier(), rated, options=EvaluationOptions(quick=True))
    assert found.star_mae == pytest.approx((0.966 + 4.211) / 2, abs=0.001)
    assert re.search(r"^star MAE +2\.59$", as_text(found), re.MULTILINE)
    without, _ = evaluate(tiny.classifier(), rated, options=EvaluationOptions(quick=True))
    assert without.star_mae is None
    assert "star MAE" not in as_text(without)


def test_coverage_and_selective_error_by_length() -> None:
    """Two of the reviews have five words and more; the sentences have one or two."""
    scorer = tiny.grouped_classifier()
    longer = reviews(("a great good good film", "positive"), ("the film was not good", "negative"))
    material = EvaluationData(reviews=[*REVIEWS, *longer], sets=SETS)
    found, _ = evaluate(scorer, material, scorer.manifest.groups)
    groups = found.selective_by_length
    assert [group.name for group in groups] == ["sentence", "long"]
    assert [group.results[0].coverage.total for group in groups] == [18, 2]
    assert [each.coverage.total for each in found.selective] == [20] * 3
    assert [each.coverage.count for each in found.selective] == [0, 1, 20]
    assert found.single_sentences is not None
    [sentences] = found.single_sentences.selective_by_length
    assert (sentences.name, sentences.results) == ("sentence", found.single_sentences.selective)
    assert json.loads(json.dumps(asdict(found)))["selective_by_length"][0]["max_tokens"] == 4
    text = as_text(found)
    for title in (
        "selective prediction",
        "selective prediction, sentence (up to 4 tokens)",
        "selective prediction, long",
        "selective prediction, single sentences, sentence (up to 4 tokens)",
    ):
        assert f"\n\n{title}\ntarget error rate 1.0%" in text


def test_one_length_group_is_measured_once() -> None:
    found = with_everything()
    assert found.selective_by_length == []
    assert found.single_sentences is not None
    assert found.single_sentences.selective_by_length == []
    assert "tokens" not in as_text(found)
