import json
import re
from dataclasses import MISSING, Field, fields
from pathlib import Path

import pytest

from reelsense.errors import RecipeError
from reelsense.training.recipe import Recipe, Stage, add_source, override, read_recipe
from tests.training.conftest import code

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_recipes_of_the_repository_are_valid(path: Path) -> None:
    assert read_recipe(path).last.window in (384, 512)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("epoch = 3", "unknown-key"),
        ("epochs = -1", "invalid-value"),
        ("epochs = 1.5", "invalid-value"),
        ("class_weights = 2", "invalid-value"),
        ("validation_share = 0.6", "invalid-value"),
        ("group_column = 1", "invalid-value"),
        ("patience = -1", "invalid-value"),
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


def test_recipe_epochs_repeat_the_length(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    base = 'name = "x"\nbase = "y"\n'
    path.write_text(f"{base}lengths = [128]\nepochs = 3\n")
    assert read_recipe(path).last.epoch_lengths == (128, 128, 128)
    path.write_text(f"{base}lengths = [64, 128]\n")
    assert read_recipe(path).last.epoch_lengths == (64, 128)
    path.write_text(f"{base}lengths = [64, 128]\nepochs = 3\n")
    with code("invalid-value", RecipeError) as caught:
        read_recipe(path)
    assert "epochs" in str(caught.value)


STAGES = """
name = "x"
base = "y"
lengths = [64]

[[stage]]
name = "read"
kind = "pretrain"
learning_rate = 3e-4

[[stage]]
name = "learn"
base = "read"
"""


def test_override_changes_the_settings_of_stages(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(STAGES)
    settings = {"epochs": 3, "learning_rate": 1e-5, "seed": 7, "name": None, "max_steps": 9}
    recipe = read_recipe(path)
    read, learn = override(recipe, settings).stages
    assert (read.epochs, read.learning_rate, read.seed, read.max_steps) == (0, 3e-4, 7, 9)
    assert (learn.epochs, learn.learning_rate, learn.seed, learn.max_steps) == (3, 1e-5, 7, 9)
    assert (learn.name, learn.stage, learn.base) == ("x", "learn", "read")
    assert override(recipe, {"seed": None}) == recipe
    with code("invalid-value", RecipeError):
        override(recipe, {"tokens_per_batch": 32})


def test_read_recipe_rejects_stages_with_other_validation_sets(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(STAGES + "validation_share = 0.2\n")
    with code("invalid-value", RecipeError) as caught:
        read_recipe(path)
    assert "validation_share" in str(caught.value)


PAGE = RECIPES.parent / "docs" / "recipes.md"
_ROW = re.compile(r"^\| `(\w+)` \| .+ \| (.+) \| .+ \|$", re.MULTILINE)


def test_documentation_lists_every_recipe_key_with_its_default() -> None:
    documented = dict(_ROW.findall(PAGE.read_text()))
    assert documented == {setting.name: default(setting) for setting in fields(Stage)}


def default(setting: Field[object]) -> str:
    """Return the default of a setting as in TOML."""
    if setting.default_factory is not MISSING:
        values = setting.default_factory()
        assert isinstance(values, dict)
        return "`{ " + ", ".join(f"{key} = {value:g}" for key, value in values.items()) + " }`"
    if setting.default is MISSING:
        return "required"
    if isinstance(setting.default, float):
        return f"`{setting.default:.3g}`"
    if setting.default == ():
        return "`[]`"
    return "`" + json.dumps(setting.default) + "`"


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


def test_add_source_keeps_what_a_stage_sets() -> None:
    stages = [
        Stage(name="m", base="b", lengths=(16,), stage="read", kind="pretrain"),
        Stage(name="m", base="b", lengths=(16,), stage="learn"),
        Stage(name="m", base="b", lengths=(16,), stage="own", data={"feedback": 2.0}),
    ]
    recipe = add_source(Recipe(tuple(stages)), "feedback", 4.0)
    assert [stage.data for stage in recipe.stages] == [
        {"reviews": 1.0},
        {"feedback": 4.0, "reviews": 1.0},
        {"feedback": 2.0},
    ]
