import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from reelsense.cli import cli
from reelsense.training import checkpoint
from reelsense.training.examples import Example
from tests.conftest import LABELS
from tests.training.conftest import write_base, write_examples

RECIPE = """
name = "mine"
base = "nowhere"
lengths = [16]
window = 32
tokens_per_batch = 256

[[stage]]
name = "read"
kind = "pretrain"

[[stage]]
name = "learn"
base = "read"
"""


@pytest.mark.parametrize("interrupted", [False, True])
def test_train_runs_the_stages_of_a_recipe(tmp_path: Path, interrupted: bool) -> None:
    words = (("good", "positive"), ("bad", "negative"), ("great awful", ""))
    rows = [
        f"{word} the film was a film and the film was not a film {n},{label}"
        for n in range(20)
        for word, label in words
    ]
    (tmp_path / "mine.csv").write_text("\n".join(["text,label", *rows]))
    (tmp_path / "recipe.toml").write_text(RECIPE)
    write_examples(tmp_path / "extra.jsonl", [Example("a film", (0.5, 0.5), None, "me")], LABELS)
    output = tmp_path / "output"
    options = {
        "--data": tmp_path / "mine.csv",
        "--recipe": tmp_path / "recipe.toml",
        "--base-model": write_base(tmp_path / "bert"),
        "--extra-data": tmp_path / "extra.jsonl",
        "--output": output,
        "--max-steps": 2,
    }
    arguments = ["train", *(str(part) for option in options.items() for part in option)]
    if interrupted:
        (output / "stages").mkdir(parents=True)
    result = CliRunner().invoke(cli, [*arguments, *(["--resume"] if interrupted else [])])
    assert result.exit_code == 0, result.output
    metadata = json.loads((output / checkpoint.METADATA).read_text())
    assert (metadata["recipe"]["stage"], metadata["recipe"]["base"]) == ("learn", "bert")
    assert metadata["read"] == {"texts": 56, "steps": 2}
    assert metadata["extra_examples"] == {"me": 1}
    assert CliRunner().invoke(cli, arguments).exception is not None
