"""A recipe: a small TOML file that describes the stages in which a model is trained.

Keys at the top are settings of every stage, except `name`, which is the model's. A `[[stage]]`
table has the name of the stage and overrides settings. A recipe without stages has one, which
fine-tunes. A stage begins with the hub id or folder in `base`, or with the earlier stage of that
name.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from reelsense.errors import RecipeError

KINDS = ("finetune", "distill", "pretrain")
SOURCES = (
    *("reviews", "unlabelled", "edited", "sentences", "phrases", "behaviours", "noisy"),
    *("identity", "extra"),
)
"""What a stage can learn from: see `training.sources`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Settings of one stage of training. Lengths and batches are counted in tokens."""

    name: str
    """Name of the model."""
    base: str
    """The pre-trained encoder: a hub id, a folder, or the name of an earlier stage."""
    lengths: tuple[int, ...]
    """The length a text is cut to, epoch by epoch; one epoch per length."""
    stage: str = "train"
    """Name of the stage."""
    kind: str = "finetune"
    """One of KINDS. "distill" is fine-tuning on the logits of teachers as well."""
    data: dict[str, float] = field(default_factory=lambda: {"reviews": 1.0})
    """What to learn from (SOURCES), and how often each text is in an epoch. 0.5 is half of the
    texts, drawn at random."""
    teachers: tuple[str, ...] = ()
    """Earlier stages, bundles by name or folder, or "bag-of-words". Their logits are averaged."""
    teacher_logits: str = ""
    """A file with logits of teachers, relative to the recipe. Texts that are in it are not scored
    again."""
    temperature: float = 1.0
    """Of the softmax over teacher's and student's logits in the distillation loss."""
    teacher_weight: float = 0.5
    """Weight of the distillation loss; the labels have the rest."""
    head_share: float = 1 / 3
    """The share of a cut text that is its beginning; the rest is its end."""
    tokens_per_batch: int = 6144
    texts_per_batch: int = 1024
    """Maximum number of texts of a batch: in large batches each of many short texts counts
    little."""
    learning_rate: float = 8e-5
    """The peak; rises over `warmup`, then falls linearly to zero."""
    warmup: float = 0.06
    """The share of all steps over which the learning rate rises."""
    weight_decay: float = 0.01
    dropout: float = 0.1
    """Of hidden states and before the classifier."""
    attention_dropout: float = 0.0
    """Of attention weights; above 0 it costs a third of the speed on CPUs."""
    max_gradient_norm: float = 1.0
    stars_weight: float = 0.0
    """Weight of the loss over star ratings, where reviews have them; 0: no stars are learned."""
    pool_after: int = 0
    """Average neighbouring hidden states in pairs after this many layers (BERT only); 0: never."""
    shared_identity_embeddings: bool = False
    """Whether the identity terms of a category start from their mean embedding."""
    ema_decay: float = 0.0
    """Decay of the moving average of the weights that is saved (such as 0.999); 0: no average."""
    base_share: float = 0.0
    """How far the saved weights go back to those the stage began with; 0: not at all."""
    mask_share: float = 0.2
    """The share of tokens that pre-training hides and predicts."""
    seed: int = 1
    max_steps: int = 0
    """Stop after this many steps; 0: after the last epoch."""
    window: int = 512
    """The window length that the bundle is served with."""

    def __post_init__(self) -> None:
        """Raise RecipeError on a value that cannot work."""
        for is_valid, message in _checks(self):
            if not is_valid:
                raise RecipeError(message)


def _checks(stage: Stage) -> list[tuple[bool, str]]:
    def within(names: str, low: float, high: float, *, zero: bool) -> list[tuple[bool, str]]:
        bound = "from 0" if zero else "above 0"
        limit = f" and below {high:g}" if high < float("inf") else ""
        found = ((name, getattr(stage, name)) for name in names.split())
        return [
            (
                (low <= value if zero else low < value) and value < high,
                f"{name}: expected a number {bound}{limit}, not {value!r}",
            )
            for name, value in found
        ]

    infinity = float("inf")
    unknown = sorted(set(stage.data) - set(SOURCES))
    return [
        (stage.kind in KINDS, f"kind: expected one of {', '.join(KINDS)}, not {stage.kind!r}"),
        (not unknown, f"data: unknown {', '.join(unknown)}; known: {', '.join(SOURCES)}"),
        (
            all(0 < value < infinity for value in stage.data.values()),
            "data: expected numbers above 0",
        ),
        (
            bool(stage.lengths) and min(stage.lengths, default=0) >= 8,
            "lengths: expected one length or more, each of 8 tokens or more",
        ),
        (
            max(stage.lengths, default=0) <= stage.tokens_per_batch,
            "tokens_per_batch is less than the longest of lengths",
        ),
        (0 <= stage.head_share <= 1, "head_share: expected a number from 0 to 1"),
        (stage.texts_per_batch >= 1, "texts_per_batch: expected 1 or more"),
        (stage.window >= 8, "window: expected 8 tokens or more"),
        (
            stage.kind != "distill" or bool(stage.teachers or stage.teacher_logits),
            'kind = "distill" needs teachers or teacher_logits',
        ),
        *within("learning_rate temperature", 0, infinity, zero=False),
        *within("mask_share", 0, 1, zero=False),
        *within(
            "weight_decay max_gradient_norm max_steps stars_weight pool_after",
            *(0, infinity),
            zero=True,
        ),
        *within("warmup dropout attention_dropout ema_decay base_share", 0, 1, zero=True),
        (0 <= stage.teacher_weight <= 1, "teacher_weight: expected a number from 0 to 1"),
    ]


@dataclass(frozen=True, slots=True)
class Recipe:
    """The stages of a model, in order."""

    stages: tuple[Stage, ...]

    @property
    def last(self) -> Stage:
        """The stage whose checkpoint is the model."""
        return self.stages[-1]


def check_lengths(longest: int, **lengths: int) -> None:
    """Raise RecipeError if one of `lengths` is more than the `longest` that a model can read."""
    for name, length in lengths.items():
        if length > longest:
            raise RecipeError(f"{name}: {length} tokens, but the model reads {longest}")


def read_recipe(path: Path) -> Recipe:
    """Read a recipe.

    Raises:
        RecipeError: Names the file and the key that is wrong.
    """
    try:
        with path.open("rb") as file:
            table = tomllib.load(file)
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not TOML: {error}") from error
    if "stage" in table:
        shared = {key: value for key, value in table.items() if key != "stage"}
        stages = [
            _stage(shared | own | {"name": shared.get("name"), "stage": own.get("name")}, where)
            for own, where in _tables(table["stage"], path)
        ]
    else:
        stages = [_stage(table, str(path))]
    names = [stage.stage for stage in stages]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise RecipeError(f"{path}: two stages are called {repeated[0]!r}")
    return Recipe(tuple(stages))


def _tables(found: object, path: Path) -> list[tuple[dict[str, Any], str]]:
    """Return every [[stage]] table, and where it stands."""
    if not (isinstance(found, list) and found and all(isinstance(each, dict) for each in found)):
        raise RecipeError(f"{path}: stage must be one or more [[stage]] tables")
    for number, table in enumerate(found, start=1):
        if not isinstance(table.get("name"), str):
            raise RecipeError(f"{path}: stage {number} has no name")
    return [(table, f"{path}, stage {table['name']}") for table in found]


def _stage(table: dict[str, Any], where: str) -> Stage:
    known = {field.name: str(field.type) for field in fields(Stage)}
    table = {key: value for key, value in table.items() if value is not None}
    for key, value in table.items():
        if key not in known:
            raise RecipeError(f"{where}: unknown key {key!r}; known: {', '.join(known)}")
        table[key] = _typed(value, known[key], where=f"{where}: {key}")
    for key in ("name", "base", "lengths"):
        if key not in table:
            raise RecipeError(f"{where}: {key} is missing")
    try:
        return Stage(**table)
    except RecipeError as error:
        raise RecipeError(f"{where}: {error}") from error


def _typed(value: object, kind: str, where: str) -> object:
    """Return `value` as the field's type, or raise RecipeError. A bool is not a number."""
    match kind, value:
        case ("int" | "float", bool()):
            pass
        case ("bool", bool()) | ("int", int()) | ("float", float()) | ("str", str()):
            return value
        case ("float", int()):
            return float(value)
        case ("tuple[int, ...]", list()) if all(type(item) is int for item in value):
            return tuple(value)
        case ("tuple[str, ...]", list()) if all(type(item) is str for item in value):
            return tuple(value)
        case ("dict[str, float]", dict()):
            return {key: _typed(item, "float", f"{where}.{key}") for key, item in value.items()}
    raise RecipeError(f"{where} must be {kind}, not {value!r}")
