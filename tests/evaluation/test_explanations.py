from __future__ import annotations

from collections.abc import Sequence

import pytest

from reelsense.datasets.reviews import Review
from reelsense.evaluation.evaluate import EvaluationData, EvaluationOptions, evaluate
from reelsense.evaluation.explanations import measure_explanations
from reelsense.evaluation.plots import as_svg, counterfactual_sizes, sentence_deletion
from reelsense.evaluation.summary import as_text
from reelsense.inference.classifier import Classifier
from reelsense.prediction import Explanation, Part
from reelsense.report.results import ExplanationQuality
from tests import tiny

CLASSIFIER = Classifier(tiny.bundle(window=128), network=tiny.count_moods)
REVIEWS = [
    Review(f"r{n}", text, label, None, str(n))
    for n, (text, label) in enumerate(
        [
            ("Great great film. Good old film. A good. Good new film.", "positive"),
            ("Bad old film. Awful awful film. A bad. Bad new film.", "negative"),
            ("Good.", "positive"),
            ("Bad film.", "negative"),
        ]
    )
]


class Mistaken:
    """Finds heaviest what is lightest."""

    labels = CLASSIFIER.labels
    predict_proba = CLASSIFIER.predict_proba

    def explain(self, text: str) -> Explanation:
        found = CLASSIFIER.explain(text)
        turned = tuple(
            Part(part.start, part.end, 1 / (1 + abs(part.weight))) for part in found.sentences
        )
        return Explanation(
            found.prediction,
            found.target_label,
            found.log_odds,
            turned,
            (),
            None,
            found.forward_passes,
            200,
        )


def test_true_explanations_are_found_true() -> None:
    found = measure_explanations(CLASSIFIER, REVIEWS)
    assert found.reviews == 4
    assert found.deletion.reviews == 2  # the others are one sentence
    assert found.deletion.heaviest == pytest.approx(4.0)
    assert found.deletion.random == pytest.approx(2.0)
    weights, *blind = found.rankings
    assert weights.name == "weights"
    assert [each.name for each in blind] == ["random", "from the start", "from the end"]
    for each in blind:
        assert weights.comprehensiveness[0] >= each.comprehensiveness[0] - 1e-9
        assert weights.sufficiency[0] <= each.sufficiency[0] + 1e-9
    assert (found.counterfactuals.found.count, found.counterfactuals.found.total) == (0, 4)
    assert found.stability.same_label.total == 4


def test_false_ones_are_found_false() -> None:
    true, false = (measure_explanations(each, REVIEWS) for each in (CLASSIFIER, Mistaken()))
    assert false.deletion.ratio is not None
    assert false.deletion.ratio <= 1
    assert true.deletion.ratio == pytest.approx(2)
    assert false.rankings[0].comprehensiveness[0] < true.rankings[0].comprehensiveness[0]


def test_another_method_stands_beside() -> None:
    def longest(_text: str, parts: Sequence[Part]) -> list[float]:
        return [part.end - part.start for part in parts]

    found = measure_explanations(CLASSIFIER, REVIEWS, ("by length", longest))
    assert [each.name for each in found.rankings][:2] == ["weights", "by length"]


def test_flips_are_counted() -> None:
    mixed = [Review("m", "Great great film. The film. Bad.", "positive", None, "m")]
    found = measure_explanations(CLASSIFIER, mixed)
    assert found.counterfactuals.found.count == 1
    assert found.counterfactuals.sizes == [1]
    assert found.counterfactuals.median_share == pytest.approx(17 / 32)
    assert "<svg" in as_svg(counterfactual_sizes(found.counterfactuals.sizes))


def test_it_is_the_same_again_and_part_of_the_evaluation() -> None:
    runs = [
        evaluate(
            CLASSIFIER,
            EvaluationData(reviews=REVIEWS),
            options=EvaluationOptions(quick=True, explainer=CLASSIFIER),
        )[0]
        for _ in range(2)
    ]
    found = runs[0].explanations
    assert isinstance(found, ExplanationQuality)
    assert runs[0] == runs[1]
    text = as_text(runs[0])
    assert "explanations\n" in text
    assert "comprehensiveness at 10%, 20%, 50%: weights" in text
    assert as_svg(sentence_deletion(found.rankings)).count("weights") == 1
    assert (
        evaluate(
            CLASSIFIER, EvaluationData(reviews=REVIEWS), options=EvaluationOptions(quick=True)
        )[0].explanations
        is None
    )


def test_reviews_of_one_sentence_alone() -> None:
    found = measure_explanations(CLASSIFIER, REVIEWS[2:])
    assert found.deletion.reviews == 0
    assert found.rankings[0].comprehensiveness == [0.0, 0.0, 0.0]
