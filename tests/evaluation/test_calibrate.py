from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from reelsense import bundle as bundles
from reelsense.bundle import Calibration
from reelsense.datasets.reviews import Review
from reelsense.errors import InputError
from reelsense.evaluation import calibrate as calibrating
from reelsense.evaluation.calibrate import RISKS, calibrate, control_risk
from reelsense.inference.calibration import probabilities
from tests import tiny


def drawn(count: int, temperature: float, exponent: float, seed: int = 0) -> calibrating._Answers:
    """Answers of a network that is calibrated by just these two numbers."""
    random = np.random.default_rng(seed)
    margins = random.normal(0, 4, count)
    windows = random.integers(1, 5, count)
    truth = expit(margins * windows**exponent / temperature)
    wanted = (random.random(count) < truth).astype(np.int64)
    return calibrating._Answers(np.stack([0 * margins, margins], axis=1), windows, wanted)


def test_the_two_numbers_are_found_again() -> None:
    found = calibrating._fit(drawn(20_000, temperature=1.6, exponent=0.4))
    assert found.temperature == pytest.approx(1.6, rel=0.06)
    assert found.window_exponent == pytest.approx(0.4, abs=0.06)


@pytest.mark.parametrize("wrong", [0, 3])
def test_a_handful_of_reviews_gives_no_wild_numbers(wrong: int) -> None:
    logits = np.tile([0.0, 3.0], (3, 1))
    wanted = np.array([0] * wrong + [1] * (3 - wrong))
    found = calibrating._fit(calibrating._Answers(logits, np.ones(3, np.int64), wanted))
    assert 0.2 < found.temperature < 20
    assert found.window_exponent == pytest.approx(0, abs=1e-3)


def test_the_risk_is_broken_as_seldom_as_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the threshold, a little more than the risk is wrong: to find one is the mistake."""
    monkeypatch.setattr(calibrating, "RISKS", (0.1,))
    draws = 2000
    broken = 0
    for seed in range(draws):
        random = np.random.default_rng(seed)
        scores, correct = random.uniform(0.5, 1, 1000), random.random(1000) > 0.1005
        broken += control_risk(scores, correct).thresholds[0].score is not None
    # 5 % at most; at a confidence of 85 %, 6.4 % of these draws are broken.
    assert 0.01 < broken / draws < 0.05


def test_a_fair_model_reaches_its_risk() -> None:
    """Calibrated answers, spread evenly: those from 0.8 on are wrong in 10 % of the cases."""
    random = np.random.default_rng(0)
    scores = random.uniform(0.5, 1, 20_000)
    found = control_risk(scores, random.random(20_000) < scores)
    least = {each.risk: each.score for each in found.thresholds}[0.1]
    assert least == pytest.approx(0.81, abs=0.015)


def test_thresholds_by_hand() -> None:
    """All right from 0.9 on, all wrong below: 0.9 or a little less is the threshold of each."""
    scores = np.concatenate([np.full(2000, 0.97), np.full(300, 0.6)])
    found = control_risk(scores, scores > 0.9)
    assert found.default_risk == 0.02
    by_risk = {each.risk: each.score for each in found.thresholds}
    assert by_risk[0.005] is None  # the sequences start where nothing is decided
    assert by_risk[0.02] == by_risk[0.05] == pytest.approx(0.601)
    assert by_risk[0.2] == 0.0


def test_a_bad_model_is_unsure_of_everything() -> None:
    random = np.random.default_rng(0)
    found = control_risk(random.uniform(0.5, 1, 3000), random.random(3000) < 0.5)
    assert found.default_risk is None
    assert all(each.score is None for each in found.thresholds)


@given(st.lists(st.tuples(st.floats(0.5, 1), st.booleans()), max_size=300))
@settings(max_examples=50)
def test_a_higher_risk_never_decides_less(cases: list[tuple[float, bool]]) -> None:
    scores = np.array([score for score, _ in cases])
    found = control_risk(scores, np.array([right for _, right in cases], dtype=bool))
    assert [each.risk for each in found.thresholds] == list(RISKS)
    least = [np.inf if each.score is None else each.score for each in found.thresholds]
    assert least == sorted(least, reverse=True)


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
    made = calibrate(bundle, classifier, reviews, data="some films")
    fitted = made.manifest.calibration
    assert fitted is not None
    assert fitted.reviews == 300
    assert fitted.ece_before == pytest.approx(0.2, abs=0.06)
    assert fitted.ece_after is not None
    assert fitted.ece_after < 0.06
    assert made.manifest.risk_control is not None
    bundles.write(tmp_path / "bundle", made)
    assert bundles.read(tmp_path / "bundle").manifest.calibration == fitted
    logits = classifier.score(["good good film"]).logits
    assert probabilities(logits, 1, fitted)[0, 1] == pytest.approx(0.8, abs=0.06)
    assert probabilities(logits, 1, Calibration(temperature=1.0))[0, 1] > 0.95


@pytest.mark.parametrize(
    ("review", "message"),
    [
        (Review("film 7", "good", "meh", None, "1"), "film 7 has the label 'meh'"),
        (Review("film 7", "good", None, None, "1"), "no labelled reviews"),
        (Review("film 7", "<br />", "positive", None, "1"), "film 7 holds nothing"),
    ],
)
def test_reviews_that_nothing_can_be_fitted_on(review: Review, message: str) -> None:
    with pytest.raises(InputError, match=message):
        calibrate(tiny.bundle(), tiny.classifier(), [review], data="some films")
