from pathlib import Path

import pytest

from reelsense.errors import RecipeError
from reelsense.training.recipe import read_recipe

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_the_recipes_that_come_with_it_are_read(path: Path) -> None:
    assert read_recipe(path).last.window in (384, 512)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("epochs = 3", "unknown key 'epochs'"),
        ("seed = 1.5", "seed must be int"),
        ("seed = true", "seed must be int"),
        ("lengths = [128, 'x']", "lengths must be"),
        ("lengths = []", "lengths: expected one length"),
        ("dropout = 1", "dropout: expected"),
        ("attention_dropout = -0.1", "attention_dropout: expected"),
        ("tokens_per_batch = 64", "tokens_per_batch is less"),
        ("texts_per_batch = 0", "texts_per_batch: expected"),
        ("head_share = 2", "head_share"),
        ("learning_rate = 0", "learning_rate"),
        ("warmup = 1.0", "warmup"),
        ("window = 0", "window: expected"),
        ("learning_rate = nan", "learning_rate: expected"),
        ("weight_decay = -0.1", "weight_decay: expected"),
        ("max_steps = -3", "max_steps: expected"),
        ("stars_weight = -1", "stars_weight: expected"),
        ("ema_decay = 1", "ema_decay: expected"),
        ("base_share = 1", "base_share: expected"),
        ("shared_identity_embeddings = 1", "shared_identity_embeddings must be bool"),
        ("mask_share = 0", "mask_share: expected"),
        ("kind = 'guess'", "kind: expected one of"),
        ("kind = 'distill'", "needs teachers"),
        ("data = {books = 1}", "data: unknown books"),
        ("data = {reviews = 0}", "data: expected numbers above 0"),
        ("teachers = [1]", "teachers must be"),
        ("temperature = 0", "temperature: expected"),
        ("teacher_weight = 2", "teacher_weight: expected"),
        ("stage = 3", "one or more"),
        ("stage = [{lengths = [8]}]", "stage 1 has no name"),
        ("seed =", "not TOML"),
    ],
)
def test_a_wrong_key_is_named(tmp_path: Path, line: str, message: str) -> None:
    lines = {"name": 'name = "x"', "base": 'base = "y"', "lengths": "lengths = [128]"}
    lines[line.split()[0]] = line
    path = tmp_path / "recipe.toml"
    path.write_text("\n".join(lines.values()))
    with pytest.raises(RecipeError, match=message):
        read_recipe(path)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    with pytest.raises(RecipeError, match="cannot be read"):
        read_recipe(path)
    path.write_text('name = "x"\nlengths = [128]\n')
    with pytest.raises(RecipeError, match="base is missing"):
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


def test_recipe_with_two_stages_of_one_name_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    stage = '[[stage]]\nname = "a"\n'
    path.write_text(f'name = "x"\nbase = "y"\nlengths = [64]\n{stage * 2}')
    with pytest.raises(RecipeError, match="two stages"):
        read_recipe(path)
