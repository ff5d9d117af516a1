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


class Inverted:
    """Gives the largest weight to the sentence with the smallest."""

    labels = CLASSIFIER.labels
    predict_proba = CLASSIFIER.predict_proba

    def explain(self, text: str) -> Explanation:
        explanation = CLASSIFIER.explain(text)
        inverted = tuple(
            Part(part.start, part.end, 1 / (1 + abs(part.weight))) for part in explanation.sentences
        )
        return Explanation(
            explanation.prediction,
            explanation.target_label,
            explanation.log_odds,
            inverted,
            (),
            None,
            explanation.forward_passes,
            200,
            text,
        )


def test_measure_explanations_of_faithful_explanations() -> None:
    quality = measure_explanations(CLASSIFIER, REVIEWS)
    assert quality.reviews == 4
    assert quality.deletion.reviews == 2  # the others are one sentence
    assert quality.deletion.heaviest == pytest.approx(4.0)
    assert quality.deletion.random == pytest.approx(2.0)
    weights, *blind = quality.rankings
    assert weights.name == "weights"
    assert [ranking.name for ranking in blind] == ["random", "from the start", "from the end"]
    for ranking in blind:
        assert weights.comprehensiveness[0] >= ranking.comprehensiveness[0] - 1e-9
        assert weights.sufficiency[0] <= ranking.sufficiency[0] + 1e-9
    assert (quality.counterfactuals.found.count, quality.counterfactuals.found.total) == (0, 4)
    assert quality.stability.same_label.total == 4


def test_measure_explanations_detects_wrong_weights() -> None:
    right, wrong = (
        measure_explanations(explainer, REVIEWS) for explainer in (CLASSIFIER, Inverted())
    )
    assert wrong.deletion.ratio is not None
    assert wrong.deletion.ratio <= 1
    assert right.deletion.ratio == pytest.approx(2)
    assert wrong.rankings[0].comprehensiveness[0] < right.rankings[0].comprehensiveness[0]


def test_measure_explanations_compares_another_method() -> None:
    def longest(_text: str, parts: Sequence[Part]) -> list[float]:
        return [part.end - part.start for part in parts]

    quality = measure_explanations(CLASSIFIER, REVIEWS, ("by length", longest))
    assert [ranking.name for ranking in quality.rankings][:2] == ["weights", "by length"]


def test_measure_explanations_counts_counterfactuals() -> None:
    mixed = [Review("m", "Great great film. The film. Bad.", "positive", None, "m")]
    quality = measure_explanations(CLASSIFIER, mixed)
    assert quality.counterfactuals.found.count == 1
    assert quality.counterfactuals.sizes == [1]
    assert quality.counterfactuals.median_share == pytest.approx(17 / 32)
    assert "<svg" in as_svg(counterfactual_sizes(quality.counterfactuals.sizes))


def test_evaluate_includes_explanations_deterministically() -> None:
    runs = [
        evaluate(
            CLASSIFIER,
            EvaluationData(reviews=REVIEWS),
            options=EvaluationOptions(quick=True, explainer=CLASSIFIER),
        )[0]
        for _ in range(2)
    ]
    quality = runs[0].explanations
    assert isinstance(quality, ExplanationQuality)
    assert runs[0] == runs[1]
    text = as_text(runs[0])
    assert "explanations\n" in text
    assert "comprehensiveness at 10%, 20%, 50%: weights" in text
    assert as_svg(sentence_deletion(quality.rankings)).count("weights") == 1
    assert (
        evaluate(
            CLASSIFIER, EvaluationData(reviews=REVIEWS), options=EvaluationOptions(quick=True)
        )[0].explanations
        is None
    )


def test_measure_explanations_of_single_sentences() -> None:
    quality = measure_explanations(CLASSIFIER, REVIEWS[2:])
    assert quality.deletion.reviews == 0
    assert quality.rankings[0].comprehensiveness == [0.0, 0.0, 0.0]
