"""A recipe: a small TOML file that says how a model is trained, read into typed settings."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path

from reelsense.errors import RecipeError


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a model is trained. Lengths and batches are counted in tokens."""

    name: str
    base: str
    """The pre-trained BERT: an id on the Hugging Face hub or a folder."""
    lengths: tuple[int, ...]
    """The length a review is cut to, epoch by epoch; as many epochs as lengths."""
    head_share: float = 1 / 3
    """The share of a cut review that is its beginning; the rest is its end."""
    tokens_per_batch: int = 6144
    texts_per_batch: int = 1024
    """The most texts of a batch: in large batches each of many short ones teaches little."""
    learning_rate: float = 8e-5
    """The peak; rises over `warmup`, then falls linearly to zero."""
    warmup: float = 0.06
    """The share of all steps over which the learning rate rises."""
    weight_decay: float = 0.01
    dropout: float = 0.1
    """On the hidden states and before the classifier."""
    attention_dropout: float = 0.0
    """On the attention weights; above 0 it costs a third of the speed on processors."""
    max_gradient_norm: float = 1.0
    stars_weight: float = 0.0
    """Of the loss over star ratings, where the reviews have them; 0: no stars are learned."""
    equal_identities: bool = False
    """Whether the words of identity of a category begin with one embedding, their mean."""
    average: float = 0.0
    """The decay of the moving average of the weights that is kept (as 0.999); 0: the last ones."""
    base_share: float = 0.0
    """How far the weights that are kept go back to those the run began with; 0: not at all."""
    mlm_length: int = 256
    """The window that masked language modelling reads at once."""
    mlm_learning_rate: float = 3e-4
    mlm_share: float = 0.2
    """The share of the tokens that are hidden and guessed."""
    seed: int = 1
    most_steps: int = 0
    """Stop after so many steps, for a try; 0: after the last epoch."""
    window: int = 512
    """The window length the bundle is served with."""

    def __post_init__(self) -> None:
        """Raise RecipeError on a value that cannot work."""
        if not self.lengths or min(self.lengths) < 8:
            raise RecipeError("lengths: at least one, each of 8 tokens or more")
        if max(self.lengths) > self.tokens_per_batch:
            raise RecipeError("tokens_per_batch is less than the longest of lengths")
        if not 0 <= self.head_share <= 1:
            raise RecipeError("head_share: a number from 0 to 1")
        for name in ("learning_rate", "mlm_learning_rate"):
            if not 0 < getattr(self, name) < float("inf"):
                raise RecipeError(f"{name}: a number above 0")
        if self.texts_per_batch < 1:
            raise RecipeError("texts_per_batch: 1 or more")
        for name in ("window", "mlm_length"):
            if getattr(self, name) < 8:
                raise RecipeError(f"{name}: 8 tokens or more")
        if not 0 < self.mlm_share < 1:
            raise RecipeError("mlm_share: a share above 0 and below 1")
        for name in ("weight_decay", "max_gradient_norm", "most_steps", "stars_weight"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise RecipeError(f"{name}: a number of 0 or more")
        if not 0 <= self.warmup < 1:
            raise RecipeError("warmup: a share from 0 up to 1")
        for name in ("dropout", "attention_dropout", "average", "base_share"):
            if not 0 <= getattr(self, name) < 1:
                raise RecipeError(f"{name}: a share from 0 up to 1")


def check_lengths(positions: int, **lengths: int) -> None:
    """Raise RecipeError if one of `lengths` is more than a model of `positions` can read."""
    for name, length in lengths.items():
        if length > positions:
            raise RecipeError(f"{name}: {length} tokens, but the model reads {positions}")


def read_recipe(path: Path) -> Recipe:
    """Read a recipe. Raises RecipeError naming the file and the key that is wrong."""
    try:
        with path.open("rb") as file:
            table = tomllib.load(file)
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not TOML: {error}") from error
    known = {field.name: field.type for field in fields(Recipe)}
    for key, value in table.items():
        if key not in known:
            raise RecipeError(f"{path}: unknown key {key!r}; known: {', '.join(known)}")
        table[key] = _typed(value, str(known[key]), where=f"{path}: {key}")
    for key in ("name", "base", "lengths"):
        if key not in table:
            raise RecipeError(f"{path}: {key} is missing")
    try:
        return Recipe(**table)
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from error


def _typed(value: object, kind: str, where: str) -> object:
    """Return `value` as the field's type, or raise RecipeError. A bool is no number."""
    match kind, value:
        case ("int" | "float", bool()):
            pass
        case ("bool", bool()) | ("int", int()) | ("float", float()) | ("str", str()):
            return value
        case ("float", int()):
            return float(value)
        case ("tuple[int, ...]", list()) if all(type(item) is int for item in value):
            return tuple(value)
    raise RecipeError(f"{where} must be {kind}, not {value!r}")
