from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import expit

from reelsense.bundle import (
    Calibration,
    LengthGroup,
    Provenance,
    Threshold,
    read_bundle,
    write_bundle,
)
from reelsense.datasets.evaluation_sets import PHRASES, VALIDATION_SENTENCES
from reelsense.datasets.reviews import Review
from reelsense.errors import InputError
from reelsense.evaluation import calibrate as calibrating
from reelsense.evaluation import selective
from reelsense.evaluation.calibrate import ValidationSet, calibrate
from reelsense.evaluation.selective import find_thresholds
from reelsense.inference.calibration import probabilities
from reelsense.inference.classifier import Classifier
from tests import tiny
from tests.conftest import LABELS


def draw(count: int, temperature: float, exponent: float, seed: int = 0) -> calibrating._Logits:
    """Return logits that these two parameters calibrate."""
    random = np.random.default_rng(seed)
    margins = random.normal(0, 4, count)
    windows = random.integers(1, 5, count)
    truth = expit(margins * windows**exponent / temperature)
    targets = (random.random(count) < truth).astype(np.int64)
    logits = np.stack([0 * margins, margins], axis=1)
    return calibrating._Logits(logits, windows, 100 * windows, targets)


def test_fit_recovers_the_parameters() -> None:
    fitted = calibrating._fit(draw(20_000, temperature=1.6, exponent=0.4))
    assert fitted.temperature == pytest.approx(1.6, rel=0.06)
    assert fitted.window_exponent == pytest.approx(0.4, abs=0.06)


@pytest.mark.parametrize("wrong", [0, 3])
def test_fit_of_few_reviews_is_moderate(wrong: int) -> None:
    logits = np.tile([0.0, 3.0], (3, 1))
    targets = np.array([0] * wrong + [1] * (3 - wrong))
    ones = np.ones(3, np.int64)
    fitted = calibrating._fit(calibrating._Logits(logits, ones, ones, targets))
    assert 0.2 < fitted.temperature < 20
    assert fitted.window_exponent == pytest.approx(0, abs=1e-3)


def test_thresholds_keep_their_confidence_after_calibration_on_the_same_texts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(selective, "RISKS", (0.1,))
    population = draw(200_000, temperature=1.6, exponent=0.0, seed=999)
    margins = np.abs(population.logits[:, 1])
    order = np.argsort(-margins)
    wrong = np.cumsum((population.logits.argmax(axis=1) != population.targets)[order])
    draws = 200
    violations, decided = 0, 0.0
    for seed in range(draws):
        sample = draw(600, temperature=1.6, exponent=0.0, seed=seed)
        fitted = replace(calibrating._fit(sample), window_exponent=0.0)
        scores = sample.calibrated(fitted).max(axis=1)
        [threshold] = find_thresholds(scores, sample.logits.argmax(axis=1) == sample.targets)
        if threshold.score is not None:
            score = max(threshold.score, 0.5)
            margin = fitted.temperature * np.log(score / (1 - score))
            count = int((margins >= margin).sum())
            decided += count / len(margins) / draws
            violations += wrong[count - 1] / count > 0.1
    assert violations / draws < 0.08  # 5 % at most, and its standard error is 1.5 %
    assert decided > 0.4


def test_calibrate_corrects_overconfidence(tmp_path: Path) -> None:
    """A fifth of the reviews have misleading words: the network is overconfident."""
    random = np.random.default_rng(0)
    reviews = []
    for n in range(300):
        label = ["negative", "positive"][n % 2]
        true, false = ("good", "bad") if label == "positive" else ("bad", "good")
        word = true if random.random() < 0.8 else false
        reviews.append(Review(str(n), f"a {word} {word} film", label, None, str(n)))
    bundle, classifier = tiny.bundle(), tiny.classifier()
    calibrated = calibrate(bundle, classifier, [ValidationSet("some films", reviews)])
    fitted = calibrated.manifest.calibration
    assert fitted is not None
    assert fitted.reviews == 300
    assert fitted.ece_before == pytest.approx(0.2, abs=0.06)
    assert fitted.ece_after is not None
    assert fitted.ece_after < 0.06
    assert calibrated.manifest.risk_control is not None
    write_bundle(tmp_path / "bundle", calibrated)
    assert read_bundle(tmp_path / "bundle").manifest.calibration == fitted
    logits = classifier.score(["good good film"]).logits
    assert probabilities(logits, 1, fitted)[0, 1] == pytest.approx(0.8, abs=0.06)
    assert probabilities(logits, 1, Calibration(temperature=1.0))[0, 1] > 0.95


@pytest.mark.parametrize(
    ("review", "code"),
    [
        (Review("film 7", "good", "meh", None, "1"), "unknown-label"),
        (Review("film 7", "good", None, None, "1"), "no-labels"),
        (Review("film 7", "<br />", "positive", None, "1"), "unreadable"),
    ],
)
def test_calibrate_rejects_unusable_reviews(review: Review, code: str) -> None:
    with pytest.raises(InputError) as raised:
        calibrate(tiny.bundle(), tiny.classifier(), [ValidationSet("some films", [review])])
    assert raised.value.code == code


def noisy(count: int, words: int, right: float) -> list[Review]:
    """Return reviews of `words` words; a share of `right` has the mood of the label."""
    random = np.random.default_rng(words)
    reviews = []
    for n in range(count):
        label = LABELS[n % 2]
        kind = label if random.random() < right else LABELS[1 - n % 2]
        mood = {"positive": "good", "negative": "bad"}[kind]
        text = " ".join([mood] * 3 + ["film"] * (words - 3))
        reviews.append(Review(f"{words}-{n}", text, label, None, f"{words}-{n}"))
    return reviews


def wide_classifier() -> Classifier:
    """Return a classifier with a window for all texts of these tests."""
    return Classifier(tiny.bundle(window=256), network=tiny.count_moods)


SHORT, LONG = noisy(400, 5, 0.8), noisy(500, 130, 0.99)
MIN_TEXTS = 300


@pytest.fixture(autouse=True)
def _lower_min_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrating, "MIN_TEXTS", MIN_TEXTS)


def test_calibrate_fits_each_length_group_on_its_own_texts(tmp_path: Path) -> None:
    sets = [ValidationSet("films", LONG), ValidationSet("sentences", [*SHORT, *LONG[:7]])]
    calibrated = calibrate(tiny.bundle(window=256), wide_classifier(), sets)
    sentence, long = calibrated.manifest.groups
    assert (sentence.name, sentence.max_tokens) == ("sentence", 64)
    assert (long.name, long.max_tokens) == ("long", None)
    assert sentence.calibration is not None
    assert long.calibration is not None
    assert (sentence.calibration.data, sentence.calibration.reviews) == ("sentences", 400)
    assert long.calibration.data == "films (500) and sentences (7)"
    assert (long.calibration.reviews, calibrated.manifest.risk_control.reviews) == (507, 507)  # type: ignore[union-attr]
    assert sentence.threshold(0.02) is None
    assert sentence.threshold(0.2) is None  # a fifth is wrong
    assert long.threshold(0.03) is not None
    write_bundle(tmp_path / "bundle", calibrated)
    classifier = Classifier(read_bundle(tmp_path / "bundle"), network=tiny.count_moods)
    short, review = classifier.predict([SHORT[0].text, LONG[0].text])
    assert short.score == pytest.approx(0.8, abs=0.03)
    assert review.score == pytest.approx(0.99, abs=0.015)
    assert (short.verdict, review.verdict) == ("unsure", review.label)


def test_calibrate_does_not_depend_on_the_order_of_the_sets() -> None:
    films, sentences = ValidationSet("films", LONG), ValidationSet("sentences", SHORT)
    first, second = (
        calibrate(tiny.bundle(window=256), wide_classifier(), sets).manifest
        for sets in ([films, sentences], [sentences, films])
    )
    for one, other in zip(first.groups, second.groups, strict=True):
        assert one.thresholds == other.thresholds
        assert one.calibration == other.calibration


def test_calibrate_merges_a_group_with_too_few_texts() -> None:
    sets = [ValidationSet("films", [*LONG, *SHORT[: MIN_TEXTS - 1]])]
    calibrated = calibrate(tiny.bundle(window=256), wide_classifier(), sets)
    [group] = calibrated.manifest.groups
    assert (group.name, group.max_tokens) == ("all", None)
    assert group.calibration is not None
    assert group.calibration.reviews == len(LONG) + MIN_TEXTS - 1
    assert calibrated.manifest.length_groups == ()


@pytest.mark.parametrize(
    ("counts", "groups"),
    [
        ((300, 300, 300), [("sentence", 300), ("short", 300), ("long", 300)]),
        ((300, 299, 300), [("sentence", 300), ("long", 599)]),
        ((299, 300, 300), [("short", 599), ("long", 300)]),
        ((150, 149, 300), [("all", 599)]),
        ((300, 300, 299), [("sentence", 300), ("long", 599)]),
        ((300, 200, 99), [("all", 599)]),
        ((1000, 0, 0), [("all", 1000)]),
        ((0, 0, 1), [("all", 1)]),
    ],
)
def test_length_groups_have_enough_texts(
    counts: tuple[int, int, int], groups: list[tuple[str, int]]
) -> None:
    tokens = np.repeat([64, 128, 129], counts)
    parts = list(calibrating._length_groups(tokens))
    assert [(group.name, int(chosen.sum())) for group, chosen in parts] == groups


@given(st.lists(st.integers(1, 300), min_size=1, max_size=40), st.integers(1, 20))
def test_every_text_is_in_one_length_group(tokens: list[int], min_texts: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibrating, "MIN_TEXTS", min_texts)
        parts = list(calibrating._length_groups(np.array(tokens)))
    assert (np.sum([chosen for _, chosen in parts], axis=0) == 1).all()
    assert len(parts) == 1 or all(chosen.sum() >= min_texts for _, chosen in parts)
    bounds = [group.max_tokens for group, _ in parts]
    assert bounds[-1] is None
    assert [*bounds[:-1]] == sorted(bound for bound in bounds if bound is not None)


@pytest.mark.parametrize(
    ("scores", "risk"),
    [
        ({"sentence": (None, 0.9, 0.8), "long": (0.9, 0.8, 0.7)}, 0.03),
        ({"sentence": (0.95, 0.9, 0.8), "long": (0.9, 0.8, 0.7)}, 0.02),
        ({"sentence": (None, None, None), "long": (None, 0.8, 0.7)}, 0.03),
        ({"sentence": (0.9, 0.9, 0.9), "long": (None, None, None)}, 0.05),
        ({"all": (None, None, 0.9)}, 0.05),
        ({"all": (None, None, None, 0.9)}, 0.05),  # not 10 %: the user has to choose it
        ({"all": (None, None, None, None)}, 0.05),
    ],
)
def test_default_risk_is_reachable_in_every_length_group_or_low(
    scores: dict[str, tuple[float | None, ...]], risk: float
) -> None:
    groups = [
        LengthGroup(
            name=name,
            max_tokens=None,
            thresholds=tuple(map(Threshold, (0.02, 0.03, 0.05, 0.1), group_scores)),
        )
        for name, group_scores in scores.items()
    ]
    assert calibrating._default_risk(groups) == risk


@pytest.mark.parametrize(
    ("right", "chosen", "default", "lowest", "verdict"),
    [
        (0.46, None, 0.05, None, "unsure"),
        (0.9, None, 0.05, "20 %", "unsure"),
        (0.9, 0.2, 0.2, None, "positive"),
        (0.99, None, 0.03, None, "positive"),
    ],
)
def test_calibrated_model_is_unsure_without_evidence(
    right: float, chosen: float | None, default: float, lowest: str | None, verdict: str
) -> None:
    sets = [ValidationSet("films", noisy(500, 5, right))]
    calibrated = calibrate(tiny.bundle(), tiny.classifier(), sets, default_risk=chosen)
    manifest = calibrated.manifest
    assert manifest.risk_control is not None
    assert manifest.risk_control.default_risk == default
    [prediction] = Classifier(calibrated, network=tiny.count_moods).predict(["good good good film"])
    assert prediction.verdict == verdict
    reason = manifest.abstention()
    assert bool(reason) == (verdict == "unsure")
    assert ("The lowest rate that it can meet is 20 %." in reason) == (lowest is not None)


def test_calibrate_rejects_sentences_that_the_model_was_trained_on() -> None:
    bundle = tiny.bundle()
    seen = Provenance(extra_examples={PHRASES: 7})
    bundle = replace(bundle, manifest=replace(bundle.manifest, provenance=seen))
    films = ValidationSet("films", SHORT)
    sentences = ValidationSet(VALIDATION_SENTENCES, SHORT)
    with pytest.raises(InputError) as raised:
        calibrate(bundle, tiny.classifier(), [films, sentences])
    assert raised.value.code == "trained-on-validation"
    assert calibrate(bundle, tiny.classifier(), [films]).manifest.risk_control is not None


def test_calibrate_three_labels() -> None:
    def network(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        moods = tiny.count_moods(ids, mask)
        return np.concatenate([moods, np.full((len(moods), 1), 0.5, np.float32)], axis=1)

    labels = ("bad", "good", "mixed")
    bundle = tiny.bundle(labels)
    words = {"bad": "awful", "good": "great", "mixed": "film"}
    cases = list(words.items()) * 9
    reviews = [
        Review(str(n), f"{word} {word}", label, None, str(n))
        for n, (label, word) in enumerate(cases)
    ]
    classifier = Classifier(bundle, network=network)
    [group] = calibrate(bundle, classifier, [ValidationSet("few", reviews)]).manifest.groups
    assert group.calibration is not None
    assert 0.05 < group.calibration.temperature < 1  # all are right, and the network is not sure
