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


def drawn(count: int, temperature: float, exponent: float, seed: int = 0) -> calibrating._Logits:
    """Answers of a network that is calibrated by just these two numbers."""
    random = np.random.default_rng(seed)
    margins = random.normal(0, 4, count)
    windows = random.integers(1, 5, count)
    truth = expit(margins * windows**exponent / temperature)
    targets = (random.random(count) < truth).astype(np.int64)
    logits = np.stack([0 * margins, margins], axis=1)
    return calibrating._Logits(logits, windows, 100 * windows, targets)


def test_the_two_numbers_are_found_again() -> None:
    found = calibrating._fit(drawn(20_000, temperature=1.6, exponent=0.4))
    assert found.temperature == pytest.approx(1.6, rel=0.06)
    assert found.window_exponent == pytest.approx(0.4, abs=0.06)


@pytest.mark.parametrize("wrong", [0, 3])
def test_a_handful_of_reviews_gives_no_wild_numbers(wrong: int) -> None:
    logits = np.tile([0.0, 3.0], (3, 1))
    targets = np.array([0] * wrong + [1] * (3 - wrong))
    ones = np.ones(3, np.int64)
    found = calibrating._fit(calibrating._Logits(logits, ones, ones, targets))
    assert 0.2 < found.temperature < 20
    assert found.window_exponent == pytest.approx(0, abs=1e-3)


def test_thresholds_keep_their_promise_beside_a_calibration_fitted_on_the_same_texts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And not by deciding nothing."""
    monkeypatch.setattr(selective, "RISKS", (0.1,))
    many = drawn(200_000, temperature=1.6, exponent=0.0, seed=999)
    margins = np.abs(many.logits[:, 1])
    order = np.argsort(-margins)
    wrong = np.cumsum((many.logits.argmax(axis=1) != many.targets)[order])
    draws = 200
    broken, decided = 0, 0.0
    for seed in range(draws):
        answers = drawn(600, temperature=1.6, exponent=0.0, seed=seed)
        found = replace(calibrating._fit(answers), window_exponent=0.0)
        scores = answers.calibrated(found).max(axis=1)
        [least] = find_thresholds(scores, answers.logits.argmax(axis=1) == answers.targets)
        if least.score is not None:
            score = max(least.score, 0.5)
            margin = found.temperature * np.log(score / (1 - score))
            count = int((margins >= margin).sum())
            decided += count / len(margins) / draws
            broken += wrong[count - 1] / count > 0.1
    assert broken / draws < 0.08  # 5 % at most, and its standard error is 1.5 %
    assert decided > 0.4


def test_a_bundle_is_calibrated_and_still_gives_the_same_labels(tmp_path: Path) -> None:
    """One word in three is misleading: the network is far too sure of itself."""
    random = np.random.default_rng(0)
    reviews = []
    for n in range(300):
        label = ["negative", "positive"][n % 2]
        true, false = ("good", "bad") if label == "positive" else ("bad", "good")
        word = true if random.random() < 0.8 else false
        reviews.append(Review(str(n), f"a {word} {word} film", label, None, str(n)))
    bundle, classifier = tiny.bundle(), tiny.classifier()
    made = calibrate(bundle, classifier, [ValidationSet("some films", reviews)])
    fitted = made.manifest.calibration
    assert fitted is not None
    assert fitted.reviews == 300
    assert fitted.ece_before == pytest.approx(0.2, abs=0.06)
    assert fitted.ece_after is not None
    assert fitted.ece_after < 0.06
    assert made.manifest.risk_control is not None
    write_bundle(tmp_path / "bundle", made)
    assert read_bundle(tmp_path / "bundle").manifest.calibration == fitted
    logits = classifier.score(["good good film"]).logits
    assert probabilities(logits, 1, fitted)[0, 1] == pytest.approx(0.8, abs=0.06)
    assert probabilities(logits, 1, Calibration(temperature=1.0))[0, 1] > 0.95


@pytest.mark.parametrize(
    ("review", "message"),
    [
        (Review("film 7", "good", "meh", None, "1"), "unknown label 'meh' of film 7"),
        (Review("film 7", "good", None, None, "1"), "none of the 1 reviews"),
        (Review("film 7", "<br />", "positive", None, "1"), "film 7 holds nothing"),
    ],
)
def test_reviews_that_nothing_can_be_fitted_on(review: Review, message: str) -> None:
    with pytest.raises(InputError, match=message):
        calibrate(tiny.bundle(), tiny.classifier(), [ValidationSet("some films", [review])])


def noisy(count: int, words: int, right: float) -> list[Review]:
    """Films whose mood is what the label says in a share of `right`, in texts of some `words`."""
    random = np.random.default_rng(words)
    reviews = []
    for n in range(count):
        label = LABELS[n % 2]
        kind = label if random.random() < right else LABELS[1 - n % 2]
        mood = {"positive": "good", "negative": "bad"}[kind]
        text = " ".join([mood] * 3 + ["film"] * (words - 3))
        reviews.append(Review(f"{words}-{n}", text, label, None, f"{words}-{n}"))
    return reviews


def wide() -> Classifier:
    """A classifier that reads all the texts of these tests in one window."""
    return Classifier(tiny.bundle(window=256), network=tiny.count_moods)


SHORT, LONG = noisy(400, 5, 0.8), noisy(500, 130, 0.99)
ENOUGH = 300


@pytest.fixture(autouse=True)
def _few_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrating, "MIN_TEXTS", ENOUGH)


def test_calibrate_fits_each_length_group_on_its_own_texts(tmp_path: Path) -> None:
    sets = [ValidationSet("films", LONG), ValidationSet("sentences", [*SHORT, *LONG[:7]])]
    made = calibrate(tiny.bundle(window=256), wide(), sets)
    sentence, long = made.manifest.groups
    assert (sentence.name, sentence.max_tokens) == ("sentence", 64)
    assert (long.name, long.max_tokens) == ("long", None)
    assert sentence.calibration is not None
    assert long.calibration is not None
    assert (sentence.calibration.data, sentence.calibration.reviews) == ("sentences", 400)
    assert long.calibration.data == "films (500) and sentences (7)"
    assert (long.calibration.reviews, made.manifest.risk_control.reviews) == (507, 507)  # type: ignore[union-attr]
    assert sentence.threshold(0.02) is None
    assert sentence.threshold(0.2) is None  # a fifth is wrong
    assert long.threshold(0.03) is not None
    write_bundle(tmp_path / "bundle", made)
    classifier = Classifier(read_bundle(tmp_path / "bundle"), network=tiny.count_moods)
    short, review = classifier.predict([SHORT[0].text, LONG[0].text])
    assert short.score == pytest.approx(0.8, abs=0.03)
    assert review.score == pytest.approx(0.99, abs=0.015)
    assert (short.verdict, review.verdict) == ("unsure", review.label)


def test_calibrate_does_not_depend_on_the_order_of_the_sets() -> None:
    films, sentences = ValidationSet("films", LONG), ValidationSet("sentences", SHORT)
    first, second = (
        calibrate(tiny.bundle(window=256), wide(), sets).manifest
        for sets in ([films, sentences], [sentences, films])
    )
    for one, other in zip(first.groups, second.groups, strict=True):
        assert one.thresholds == other.thresholds
        assert one.calibration == other.calibration


def test_calibrate_merges_a_group_with_too_few_texts() -> None:
    sets = [ValidationSet("films", [*LONG, *SHORT[: ENOUGH - 1]])]
    made = calibrate(tiny.bundle(window=256), wide(), sets)
    [group] = made.manifest.groups
    assert (group.name, group.max_tokens) == ("all", None)
    assert group.calibration is not None
    assert group.calibration.reviews == len(LONG) + ENOUGH - 1
    assert made.manifest.length_groups == ()


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
    found = list(calibrating._length_groups(tokens))
    assert [(group.name, int(chosen.sum())) for group, chosen in found] == groups


@given(st.lists(st.integers(1, 300), min_size=1, max_size=40), st.integers(1, 20))
def test_every_text_is_in_one_length_group(tokens: list[int], least: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibrating, "MIN_TEXTS", least)
        found = list(calibrating._length_groups(np.array(tokens)))
    assert (np.sum([chosen for _, chosen in found], axis=0) == 1).all()
    assert len(found) == 1 or all(chosen.sum() >= least for _, chosen in found)
    bounds = [group.max_tokens for group, _ in found]
    assert bounds[-1] is None
    assert [*bounds[:-1]] == sorted(bound for bound in bounds if bound is not None)


@pytest.mark.parametrize(
    ("scores", "risk"),
    [
        ({"sentence": (None, 0.9, 0.8), "long": (0.9, 0.8, 0.7)}, 0.03),
        ({"sentence": (0.95, 0.9, 0.8), "long": (0.9, 0.8, 0.7)}, 0.02),
        ({"sentence": (None, None, None), "long": (None, 0.8, 0.7)}, 0.03),
        ({"sentence": (0.9, 0.9, 0.9), "long": (None, None, None)}, None),
    ],
)
def test_default_risk_is_one_that_every_length_group_keeps(
    scores: dict[str, tuple[float | None, ...]], risk: float | None
) -> None:
    groups = [
        LengthGroup(
            name=name,
            max_tokens=None,
            thresholds=tuple(map(Threshold, (0.02, 0.03, 0.05), found)),
        )
        for name, found in scores.items()
    ]
    assert calibrating._default_risk(groups) == risk


def test_calibrate_rejects_sentences_that_the_model_was_trained_on() -> None:
    bundle = tiny.bundle()
    seen = Provenance(extra_examples={PHRASES: 7})
    bundle = replace(bundle, manifest=replace(bundle.manifest, provenance=seen))
    films = ValidationSet("films", SHORT)
    sentences = ValidationSet(VALIDATION_SENTENCES, SHORT)
    with pytest.raises(InputError, match="was trained on"):
        calibrate(bundle, tiny.classifier(), [films, sentences])
    assert calibrate(bundle, tiny.classifier(), [films]).manifest.risk_control is not None


def test_calibrate_three_labels() -> None:
    def network(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        moods = tiny.count_moods(ids, mask)
        return np.concatenate([moods, np.full((len(moods), 1), 0.5, np.float32)], axis=1)

    labels = ("bad", "good", "mixed")
    made = tiny.bundle(labels)
    words = {"bad": "awful", "good": "great", "mixed": "film"}
    cases = list(words.items()) * 9
    reviews = [
        Review(str(n), f"{word} {word}", label, None, str(n))
        for n, (label, word) in enumerate(cases)
    ]
    classifier = Classifier(made, network=network)
    [group] = calibrate(made, classifier, [ValidationSet("few", reviews)]).manifest.groups
    assert group.calibration is not None
    assert 0.05 < group.calibration.temperature < 1  # all are right, and the network is not sure
