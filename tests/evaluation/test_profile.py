from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from reelsense.bundle import REFERENCE_PROFILE, read_bundle, write_bundle
from reelsense.cli import cli
from reelsense.datasets.reviews import Review
from reelsense.datasets.text_hashes import hash_texts
from reelsense.drift.profile import MAX_ROWS, parse
from reelsense.errors import InputError
from reelsense.evaluation.calibrate import ValidationSet, calibrate
from reelsense.evaluation.profile import add_profile
from reelsense.inference.classifier import Classifier
from tests import tiny, tiny_network


def reviews(count: int, word: str = "good") -> list[Review]:
    return [
        Review(
            f"{word}:{n}",
            f"{word} film " * (n % 7 + 1),
            ("positive", "negative")[n % 2],
            None,
            f"{n}",
        )
        for n in range(count)
    ]


def test_calibration_adds_a_profile_of_the_first_set() -> None:
    bundle = tiny.bundle(network=tiny_network.layered_network())
    sets = [ValidationSet("films", reviews(300)), ValidationSet("sentences", reviews(40, "bad"))]
    calibrated = calibrate(bundle, Classifier(bundle, threads=1), sets)
    rows = parse(calibrated.profile or "", bundle.manifest.labels)
    assert len(rows) == 300
    assert sorted(set(rows["tokens"].tolist())) == list(range(2, 15, 2))
    # Probabilities and verdicts are those of the new calibration.
    texts = [review.text for review in sets[0].reviews]
    expected = Classifier(calibrated, threads=1).predict(texts)
    assert rows["confidence"].tolist() == pytest.approx([p.score for p in expected], abs=1e-4)
    assert rows["label"].tolist() == [bundle.manifest.labels.index(p.label) for p in expected]
    assert rows["unsure"].tolist() == [p.verdict == "unsure" for p in expected]
    assert rows["embedding"].std() > 0


def test_profile_is_a_sample_of_many_texts() -> None:
    bundle = tiny.bundle()
    many = reviews(MAX_ROWS + 500)
    profiled = add_profile(bundle, Classifier(bundle, network=tiny.count_moods), "films", many)
    rows = parse(profiled.profile or "", bundle.manifest.labels)
    assert len(rows) == MAX_ROWS
    assert sorted(set(rows["tokens"].tolist())) == list(range(2, 15, 2))
    assert replace(profiled, profile=None) == bundle


def test_profile_rejects_training_texts() -> None:
    texts = reviews(50)
    bundle = replace(tiny.bundle(), training_texts=hash_texts(review.text for review in texts))
    classifier = Classifier(bundle, network=tiny.count_moods)
    with pytest.raises(InputError) as raised:
        add_profile(bundle, classifier, "films", texts)
    assert raised.value.code == "trained-on-texts"
    assert add_profile(bundle, classifier, "films", texts, force=True).profile


def test_profile_only_changes_nothing_else(tmp_path: Path) -> None:
    bundle = replace(
        tiny.bundle(network=tiny_network.network()), evaluation="{}", training_texts=b"\0\0\0\0"
    )
    before = write_bundle(tmp_path / "old", bundle)
    data = tmp_path / "texts.csv"
    data.write_text("text,label\n" + "".join(f"good film {n},positive\n" for n in range(40)))
    arguments = ["--data", str(data), "--split", "all", "--model", str(tmp_path / "old")]
    command = ["calibrate", *arguments, "--profile-only", "--output", str(tmp_path / "new")]
    result = CliRunner().invoke(cli, command, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "with a reference profile" in result.stdout
    after = read_bundle(tmp_path / "new")
    assert after.manifest.version == before.version
    assert set(after.manifest.files) - set(before.files) == {REFERENCE_PROFILE}
    assert (after.evaluation, after.training_texts) == ("{}", b"\0\0\0\0")
    assert len(parse(after.profile or "", before.labels)) == 40


def test_profile_only_rejects_options_of_the_calibration(tmp_path: Path) -> None:
    command = ["calibrate", "--data", "x.csv", "--profile-only", "--output", str(tmp_path / "new")]
    for more in (["--default-risk", "0.1"], ["--evaluation-sets", str(tmp_path)]):
        result = CliRunner().invoke(cli, [*command, *more])
        assert result.exit_code == 2
        assert "--profile-only cannot be combined" in result.stderr
