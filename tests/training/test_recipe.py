from pathlib import Path

import pytest

from reelsense.errors import RecipeError
from reelsense.training.recipe import read_recipe

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_the_recipes_that_come_with_it_are_read(path: Path) -> None:
    assert read_recipe(path).window in (384, 512)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("epochs = 3", "unknown key 'epochs'"),
        ("seed = 1.5", "seed must be int"),
        ("seed = true", "seed must be int"),
        ("lengths = [128, 'x']", "lengths must be"),
        ("lengths = []", "lengths: at least one"),
        ("dropout = 1", "dropout: a share"),
        ("attention_dropout = -0.1", "attention_dropout: a share"),
        ("tokens_per_batch = 64", "tokens_per_batch is less"),
        ("texts_per_batch = 0", "texts_per_batch: 1 or more"),
        ("head_share = 2", "head_share"),
        ("learning_rate = 0", "learning_rate"),
        ("warmup = 1.0", "warmup"),
        ("window = 0", "window: 8 tokens"),
        ("learning_rate = nan", "learning_rate: a number above 0"),
        ("weight_decay = -0.1", "weight_decay: a number of 0 or more"),
        ("most_steps = -3", "most_steps: a number of 0 or more"),
        ("stars_weight = -1", "stars_weight: a number of 0 or more"),
        ("average = 1", "average: a share"),
        ("base_share = 1", "base_share: a share"),
        ("equal_identities = 1", "equal_identities must be bool"),
        ("mlm_share = 0", "mlm_share: a share"),
        ("mlm_length = 7", "mlm_length: 8 tokens"),
        ("mlm_learning_rate = 0", "mlm_learning_rate: a number above 0"),
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
