from pathlib import Path

import pytest

from reelsense.errors import RecipeError
from reelsense.training.recipe import read_recipe
from tests.training.conftest import code

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_recipes_of_the_repository_are_valid(path: Path) -> None:
    assert read_recipe(path).last.window in (384, 512)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("epochs = 3", "unknown-key"),
        ("seed = 1.5", "invalid-value"),
        ("seed = true", "invalid-value"),
        ("lengths = [128, 'x']", "invalid-value"),
        ("lengths = []", "invalid-value"),
        ("dropout = 1", "invalid-value"),
        ("attention_dropout = -0.1", "invalid-value"),
        ("tokens_per_batch = 64", "invalid-value"),
        ("texts_per_batch = 0", "invalid-value"),
        ("head_share = 2", "invalid-value"),
        ("learning_rate = 0", "invalid-value"),
        ("warmup = 1.0", "invalid-value"),
        ("window = 0", "invalid-value"),
        ("learning_rate = nan", "invalid-value"),
        ("weight_decay = -0.1", "invalid-value"),
        ("max_steps = -3", "invalid-value"),
        ("stars_weight = -1", "invalid-value"),
        ("ema_decay = 1", "invalid-value"),
        ("base_share = 1", "invalid-value"),
        ("shared_identity_embeddings = 1", "invalid-value"),
        ("mask_share = 0", "invalid-value"),
        ("kind = 'guess'", "invalid-value"),
        ("kind = 'distill'", "invalid-value"),
        ("data = {books = 1}", "invalid-value"),
        ("data = {reviews = 0}", "invalid-value"),
        ("teachers = [1]", "invalid-value"),
        ("temperature = 0", "invalid-value"),
        ("teacher_weight = 2", "invalid-value"),
        ("stage = 3", "invalid-recipe"),
        ("stage = [{lengths = [8]}]", "missing-key"),
        ("seed =", "unreadable"),
    ],
)
def test_read_recipe_rejects_wrong_keys(tmp_path: Path, line: str, expected: str) -> None:
    lines = {"name": 'name = "x"', "base": 'base = "y"', "lengths": "lengths = [128]"}
    lines[line.split()[0]] = line
    path = tmp_path / "recipe.toml"
    path.write_text("\n".join(lines.values()))
    with code(expected, RecipeError) as caught:
        read_recipe(path)
    assert line.partition(" ")[0] in str(caught.value) or expected == "unreadable"


def test_read_recipe_rejects_missing_files_and_keys(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    with code("unreadable", RecipeError):
        read_recipe(path)
    path.write_text('name = "x"\nlengths = [128]\n')
    with code("missing-key", RecipeError):
        read_recipe(path)


def test_recipe_stages_share_settings_and_override_them(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(
        """
name = "model"
base = "hub/encoder"
lengths = [64]
dropout = 0.2

[[stage]]
name = "read"
kind = "pretrain"
lengths = [128]

[[stage]]
name = "learn"
base = "read"
data = { reviews = 1, edited = 0.5 }
dropout = 0.0
"""
    )
    first, second = read_recipe(path).stages
    assert (first.name, first.stage, first.kind, first.lengths) == (
        *("model", "read", "pretrain"),
        (128,),
    )
    assert (second.name, second.stage, second.base, second.lengths) == (
        *("model", "learn", "read"),
        (64,),
    )
    assert (first.dropout, second.dropout) == (0.2, 0.0)
    assert second.data == {"reviews": 1.0, "edited": 0.5}


def test_read_recipe_rejects_duplicate_stage_names(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    stage = '[[stage]]\nname = "a"\n'
    path.write_text(f'name = "x"\nbase = "y"\nlengths = [64]\n{stage * 2}')
    with code("duplicate-stage", RecipeError):
        read_recipe(path)
