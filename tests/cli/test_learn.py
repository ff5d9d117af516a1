import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from reelsense import Classifier
from reelsense.cli import cli
from reelsense.training import checkpoint
from reelsense.training.examples import read_examples
from tests import tiny
from tests.conftest import LABELS
from tests.datasets.test_evaluation_sets import TRAINING_FILES, write
from tests.training.conftest import write_base

RECIPE = """
name = "mine"
base = "nowhere"
lengths = [16]
window = 32
tokens_per_batch = 256
mlm_length = 32
"""


def run(*arguments: str | Path, code: int = 0) -> str:
    found = CliRunner().invoke(cli, list(map(str, arguments)))
    assert found.exit_code == code, found.output + repr(found.exception)
    return found.stdout if code == 0 else found.output


@pytest.fixture
def table(tmp_path: Path) -> Path:
    words = (("good", "positive"), ("bad", "negative"), ("great awful", ""))
    rows = [
        f"{word} the film was a film and the film was not a film {n},{label}"
        for n in range(20)
        for word, label in words
    ]
    (tmp_path / "mine.csv").write_text("\n".join(["text,label", *rows]))
    return tmp_path / "mine.csv"


def test_from_pretraining_to_a_model_that_was_taught(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Classifier, "load", lambda _path: tiny.classifier())
    (tmp_path / "recipe.toml").write_text(RECIPE)
    data = ("--data", table)
    recipe = ("--recipe", tmp_path / "recipe.toml", "--steps", "2")

    base, read = write_base(tmp_path / "bert"), tmp_path / "read"
    said = run("pretrain", *data, *recipe, "--base", base, "--out", read)
    assert said.startswith("56 texts to read\nread ")  # 4 of the 60 are held out
    assert " tokens/s\nloss of the last steps " in said
    assert said.endswith(f"the new base is in {read}\n")

    extra = tmp_path / "extra.jsonl"
    sets = write(tmp_path / "sets", TRAINING_FILES)
    options = ("--evaluation-sets", sets, "--unlabelled", "7", "--out", extra)
    said = run("teach", *data, *options, "--identity-sets", "1")
    examples = read_examples(extra, LABELS)
    assert said == f"{len(examples):,} examples in {extra}: reelsense train --extra {extra}\n"
    assert sum("great awful" in each.text for each in examples) == 7
    assert {"a bad bear", "a good bear", "bears"} <= {each.text for each in examples}
    assert any("woman" in each.text for each in examples)
    assert not list(tmp_path.glob(".*"))

    out = tmp_path / "out"
    said = run("train", *data, *recipe, "--base", read, "--extra", extra, "--out", out)
    assert f"36 reviews and {len(examples):,} examples to learn from, 4 held out\n" in said
    facts = json.loads((out / checkpoint.FACTS).read_text())
    assert (facts["recipe"]["base"], facts["labels"]) == ("bert", LABELS)
    assert facts["read"] == {"texts": 56, "steps": 2}
    assert sum(facts["extra_examples"].values()) == len(examples)
    assert [each["mlm_length"] for each in facts["earlier_recipes"]] == [32]

    (tmp_path / "one.jsonl").write_text(extra.read_text().splitlines()[0] + "\n")
    twice = ("--extra", tmp_path / "one.jsonl", "--extra", tmp_path / "one.jsonl")
    run("train", *data, *recipe, "--base", out, *twice, "--out", tmp_path / "polished")
    polished = json.loads((tmp_path / "polished" / checkpoint.FACTS).read_text())
    assert polished["earlier_recipes"] == [*facts["earlier_recipes"], facts["recipe"]]
    assert (polished["read"], polished["extra_examples"]) == (
        facts["read"],
        facts["extra_examples"],
    )


def test_a_teacher_of_other_labels(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Classifier, "load", lambda _path: tiny.classifier(("bad", "good")))
    said = run("teach", "--data", table, "--out", tmp_path / "extra.jsonl", code=2)
    assert "a teacher knows ['bad', 'good'], the data ['negative', 'positive']" in said
