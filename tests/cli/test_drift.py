import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from reelsense.bundle import write_bundle
from reelsense.cli import cli
from reelsense.datasets.reviews import Review
from reelsense.evaluation.profile import add_profile
from reelsense.inference.classifier import Classifier
from tests import tiny, tiny_network

USUAL = ["good film was not " * (n % 4 + 1) + "a bad film " * (n % 3) for n in range(200)]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model that was validated on texts such as USUAL."""
    bundle = tiny.bundle(network=tiny_network.network())
    reviews = [Review(str(n), text, None, None, str(n)) for n, text in enumerate(USUAL)]
    profiled = add_profile(bundle, Classifier(bundle, threads=1), "films", reviews)
    write_bundle(tmp_path / "model", profiled)
    return tmp_path / "model"


def drift(model: Path, texts: list[str], *more: str) -> Any:
    file = model.parent / "texts.txt"
    file.write_text("".join(f"{text}\n" for text in texts))
    command = ["drift", str(file), "--model", str(model), "--json", "-", *more]
    result = CliRunner().invoke(cli, command, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_drift_compares_the_texts_of_a_file(model: Path) -> None:
    usual = drift(model, USUAL[20:170])
    assert (usual["alert"], usual["texts"], usual["reference_texts"]) == ("none", 150, 200)
    assert usual["estimated_accuracy"]["drift"] == "none"
    changed = drift(model, ["bad awful film"] * 100)
    assert changed["alert"] == "alarm"
    assert "labels: 100% negative" in changed["reason"]
    by_name = {measure["name"]: measure for measure in changed["measures"]}
    assert by_name["labels"]["current"] == {"negative": 1.0, "positive": 0.0}
    assert by_name["labels"]["alert"] == "alarm"


def test_drift_prints_a_table(model: Path) -> None:
    (model.parent / "new.csv").write_text("id,review\n" + "1,bad awful film\n" * 100)
    result = CliRunner().invoke(
        cli, ["drift", str(model.parent / "new.csv"), "--model", str(model)], catch_exceptions=False
    )
    first, counts, header, *rows, accuracy = result.stdout.splitlines()
    assert first.startswith("alarm: ")
    assert counts == "texts: 100, validation texts: 200"
    assert header.split() == ["measure", "alert", "effect", "p-value", "reference", "current"]
    assert any(row.split()[:2] == ["labels", "alarm"] for row in rows)
    assert accuracy.startswith("estimated accuracy: ")
    assert accuracy.endswith("unreliable because of drift (alarm)")


def test_drift_of_few_or_unreadable_texts_has_no_alert(model: Path) -> None:
    report = drift(model, ["bad"] * 10 + ["\u200b"])
    assert (report["alert"], report["texts"]) == ("none", 10)
    assert "Too few texts" in report["reason"]
    assert drift(model, [])["texts"] == 0


def test_drift_uses_a_sample(model: Path) -> None:
    assert drift(model, USUAL, "--max-texts", "50")["texts"] == 50


def test_drift_without_a_profile_says_how_to_add_one(model: Path) -> None:
    write_bundle(model, replace(tiny.bundle(network=tiny_network.network())))
    report = drift(model, USUAL)
    assert report["alert"] == "none"
    assert "--profile-only" in report["reason"]


def test_drift_rejects_a_damaged_profile(model: Path) -> None:
    write_bundle(model, replace(tiny.bundle(network=tiny_network.network()), profile="{}"))
    (model.parent / "texts.txt").write_text("good\n")
    result = CliRunner().invoke(
        cli, ["drift", str(model.parent / "texts.txt"), "--model", str(model)]
    )
    assert result.exception is not None
    assert getattr(result.exception, "code", "") == "invalid-profile"
