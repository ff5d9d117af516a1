import json
import random
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from reelsense.bundle import read_bundle
from reelsense.cli import cli
from reelsense.errors import InputError, RecipeError
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


TICKETS = {"billing": "good", "login": "bad", "shipping": "great"}


def write_tickets(path: Path) -> Path:
    """Write 300 tickets in three classes, from a hundred customers. A word gives away the class."""
    choose = random.Random(0)
    rows = []
    for n in range(300):
        label = list(TICKETS)[n % 3]
        words = [TICKETS[label], *choose.choices(["the", "film", "was", "a"], k=8)]
        rows.append(f"{' '.join(choose.sample(words, len(words)))} {n},{label},{n // 3}")
    path.write_text("\n".join(["text,label,customer", *rows]))
    return path


def run(*arguments: str | Path) -> str:
    result = CliRunner().invoke(cli, list(map(str, arguments)), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.slow
def test_own_table_without_a_recipe(tmp_path: Path) -> None:
    """From a table to a bundle, with the same validation set in every command."""
    tickets, output = write_tickets(tmp_path / "tickets.csv"), tmp_path / "output"
    bundle = tmp_path / "bundle"
    data = ("--data", tickets)
    base = write_base(tmp_path / "bert")
    options = ("--base-model", base, "--seed", 5, "--learning-rate", 0.01, "--output", output)
    split = ("--group-column", "customer", "--validation-share", "0.2")
    printed = run("train", *data, *map(str, options), *split)
    assert "300 rows: billing 100, login 100, shipping 100\n" in printed
    assert "240 rows for training, 60 for validation\n" in printed
    assert "model tickets, from" in printed
    assert "seed 5" in printed
    assert re.search(r"the remaining [\d,]+ steps take about \d+ (s|min)", printed)
    assert "validation accuracy 100.0% (95 % interval 94.0% to 100.0%, 60 texts)" in printed
    assert "bag of words 100.0%, majority class 33.3%" in printed
    assert "the interval is 6 percentage points wide" in printed

    metadata = json.loads((output / checkpoint.METADATA).read_text())
    recipe = metadata["recipe"]
    assert (recipe["name"], recipe["base"], recipe["seed"]) == ("tickets", "bert", 5)
    assert recipe["learning_rate"] == 0.01
    assert (recipe["validation_share"], recipe["group_column"]) == (0.2, "customer")
    log = (output / checkpoint.METRICS).read_text().splitlines()
    steps = [json.loads(line)["step"] for line in log]
    assert max(steps) >= 90

    assert "already finished" in run("train", *data, *map(str, options), *split, "--resume")
    assert "60 validation texts; accuracy 100.00%" in run(
        "export", output, *data, "--output", bundle
    )
    command = ("evaluate", *data, "--model", bundle, "--quick")
    assert re.search(r"^accuracy +100.00%$", run(*command, "--split", "validation"), re.MULTILINE)
    with pytest.raises(InputError) as raised:
        run(*command)
    assert raised.value.code == "trained-on-texts"
    run(*command, "--force")
    calibrate = ("calibrate", *data, "--model", bundle, "--output", tmp_path / "new")
    with pytest.raises(InputError) as raised:
        run(*calibrate, "--split", "all")
    assert raised.value.code == "trained-on-texts"
    run(*calibrate)
    assert read_bundle(tmp_path / "new").training_texts == read_bundle(bundle).training_texts


@pytest.mark.parametrize("interrupted", [False, True])
def test_train_runs_the_stages_of_a_recipe(tmp_path: Path, interrupted: bool) -> None:
    words = (("good", "positive"), ("bad", "negative"), ("great awful", ""))
    rows = [
        f"{word} the film was a film and the film was not a film {n},{label}"
        for n in range(20)
        for word, label in words
    ]
    rows.append("bad the film was a bad film 20,positive")
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
    suspects = re.search(
        r"labels to check \(1\), .*: mine.csv:62 \(positive; negative\?\)", result.stdout
    )
    assert bool(suspects) is not interrupted
    metadata = json.loads((output / checkpoint.METADATA).read_text())
    assert (metadata["recipe"]["stage"], metadata["recipe"]["base"]) == ("learn", "bert")
    assert metadata["read"] == {"texts": 48, "steps": 2}
    assert metadata["extra_examples"] == {"me": 1}
    assert CliRunner().invoke(cli, arguments).exception is not None


def test_train_rejects_options_that_do_not_fit_the_recipe(tmp_path: Path) -> None:
    tickets = write_tickets(tmp_path / "tickets.csv")
    (tmp_path / "recipe.toml").write_text(RECIPE.replace("[16]", "[8, 16]"))
    options = ("--recipe", tmp_path / "recipe.toml", "--output", tmp_path / "output")
    with pytest.raises(RecipeError) as raised:
        run("train", "--data", tickets, *options, "--epochs", "3")
    assert raised.value.code == "invalid-value"
