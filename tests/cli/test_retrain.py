"""From feedback to a challenger."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from reelsense.bundle import read_bundle, write_bundle
from reelsense.cli import cli
from reelsense.datasets.feedback import is_held_out
from reelsense.datasets.text_hashes import known_texts
from reelsense.errors import InputError
from reelsense.model_directory import ModelDirectory
from tests import tiny
from tests.cli.test_train import write_tickets
from tests.training.conftest import write_base

LABELS = ("billing", "login", "shipping")


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(cli, list(map(str, arguments)))


def write_feedback(path: Path, rows: list[tuple[str, str]]) -> Path:
    lines = [json.dumps({"text": text, "label": label}) for text, label in rows]
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


@pytest.mark.slow
def test_retrain_makes_a_challenger_that_learned_from_feedback(tmp_path: Path) -> None:
    """A word that the base data does not have means "login"; only feedback says so."""
    directory = ModelDirectory(tmp_path / "models")
    models = ("--models", directory.path)
    base = tiny.bundle(LABELS)
    manifest = replace(base.manifest, name="desk", title="Which team?", unit="ticket")
    write_bundle(tmp_path / "before", replace(base, manifest=manifest))
    champion = directory.add(tmp_path / "before")
    directory.promote(champion, None, {}, accepted=True)
    rows = [(f"the awful film was a film {n}", "login") for n in range(60)]
    rows += [rows[0], ("a good film", "billing"), ("a good film", "login")]
    feedback = write_feedback(tmp_path / "feedback.jsonl", rows)
    result = invoke(
        *("retrain", *models, "--feedback", feedback, "--data", write_tickets(tmp_path / "t.csv")),
        *("--base-model", write_base(tmp_path / "bert"), "--learning-rate", 0.01),
        *("--output", tmp_path / "run", "--json", "-"),
    )
    assert result.exit_code == 0, result.output
    made: dict[str, Any] = json.loads(result.stdout)
    version = made["version"]
    assert directory.aliases() == {"champion": champion, "challenger": version}
    held_out = [text for text, _ in rows[:60] if is_held_out(text)]
    assert made["feedback"] == {
        "train": 60 - len(held_out),
        "held_out": len(held_out),
        "duplicates": 1,
        "conflicts": [{"text": "a good film", "labels": ["billing", "login"]}],
    }
    assert "billing and login: a good film" in result.stderr
    bundle = read_bundle(directory.path / version)
    assert bundle.manifest.provenance["recipe"]["data"]["feedback"] == 4
    assert bundle.manifest.provenance["extra_examples"] == {"feedback": 60 - len(held_out)}
    hashes = bundle.training_texts
    assert hashes
    assert not known_texts(hashes, held_out).any()
    trained = [text for text, _ in rows[:60] if text not in held_out]
    assert known_texts(hashes, trained).all()
    predict = ("predict", "--model", directory.path / "challenger", "the awful film was a film")
    assert "login" in invoke(*predict).stdout

    manifest = bundle.manifest
    assert (manifest.name, manifest.title, manifest.unit) == ("desk", "Which team?", "ticket")


def test_retrain_rejects_data_with_other_labels_than_the_champion(tmp_path: Path) -> None:
    """Before it trains for hours: the challenger could not be promoted."""
    directory = ModelDirectory(tmp_path / "models")
    write_bundle(tmp_path / "films", tiny.bundle())
    directory.promote(directory.add(tmp_path / "films"), None, {}, accepted=True)
    result = invoke(
        *("retrain", "--models", directory.path, "--output", tmp_path / "run"),
        *("--feedback", write_feedback(tmp_path / "feedback.jsonl", [("a film", "login")])),
        *("--data", write_tickets(tmp_path / "t.csv"), "--base-model", tmp_path),
    )
    assert isinstance(result.exception, InputError)
    assert result.exception.code == "labels-differ"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("rows", "code"),
    [([("a film", "refund")], "unknown-label"), ([], "no-feedback")],
)
def test_retrain_rejects_unusable_feedback(
    tmp_path: Path, rows: list[tuple[str, str]], code: str
) -> None:
    result = invoke(
        *("retrain", "--models", tmp_path / "models", "--output", tmp_path / "run"),
        *("--feedback", write_feedback(tmp_path / "feedback.jsonl", rows)),
        *("--data", write_tickets(tmp_path / "t.csv"), "--base-model", tmp_path),
    )
    assert isinstance(result.exception, InputError)
    assert result.exception.code == code
    assert not (tmp_path / "models").exists()
