"""Recipes: TOML files that describe the stages in which a model is trained.

Top-level keys are settings of every stage, except `name`, the name of the model. A `[[stage]]`
table has the name of the stage and overrides settings. A recipe without such tables has one stage.
A stage starts from `base`: a hub id, a folder or the name of an earlier stage.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from math import inf
from pathlib import Path
from typing import Any

from reelsense.errors import RecipeError

KINDS = ("finetune", "distill", "pretrain")
SOURCES = (
    *("reviews", "unlabelled", "edited", "sentences", "phrases", "behaviours", "noisy"),
    *("identity", "extra"),
)
"""What a stage can be trained on: see `training.sources`."""

_MIN_LENGTH = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Settings of one stage of training. Lengths and batches are counted in tokens."""

    name: str
    """Name of the model."""
    base: str
    """The pre-trained encoder: a hub id, a folder, or the name of an earlier stage."""
    lengths: tuple[int, ...]
    """The length that texts are cut to in each epoch; their number is the number of epochs."""
    stage: str = "train"
    """Name of the stage."""
    kind: str = "finetune"
    """One of KINDS. "distill" is fine-tuning with the logits of teachers as additional targets."""
    data: dict[str, float] = field(default_factory=lambda: {"reviews": 1.0})
    """What to train on (SOURCES), and how often each text is in an epoch; 0.5 means a random half
    of the texts."""
    teachers: tuple[str, ...] = ()
    """Earlier stages, bundles by name or folder, or "bag-of-words". Their logits are averaged."""
    teacher_logits: str = ""
    """A file with logits of teachers, relative to the recipe. Its texts are not scored again."""
    temperature: float = 1.0
    """Divides the logits of teacher and student in the distillation loss."""
    teacher_weight: float = 0.5
    """Weight of the distillation loss; the loss over the labels has the rest."""
    head_share: float = 1 / 3
    """The share of a cut text that is its beginning; the rest is its end."""
    tokens_per_batch: int = 6144
    texts_per_batch: int = 1024
    """Maximum number of texts in a batch. In a large batch of short texts each counts little."""
    learning_rate: float = 8e-5
    """The peak: the rate rises linearly over `warmup`, then decays linearly to 0."""
    warmup: float = 0.06
    """The share of all steps over which the learning rate rises."""
    weight_decay: float = 0.01
    dropout: float = 0.1
    """Of hidden states and before the classifier."""
    attention_dropout: float = 0.0
    """Of attention weights; above 0 it costs a third of the speed on CPUs."""
    max_gradient_norm: float = 1.0
    stars_weight: float = 0.0
    """Weight of the loss over star ratings, where reviews have them; 0: stars are not learned."""
    pool_after: int = 0
    """Average neighbouring hidden states in pairs after this many layers (BERT only); 0: never."""
    shared_identity_embeddings: bool = False
    """Whether the identity terms of a category start from one embedding, their mean."""
    ema_decay: float = 0.0
    """Decay of the exponential moving average of the weights, which is saved (such as 0.999);
    0: the last weights are saved."""
    base_share: float = 0.0
    """Weight of the initial weights when they are averaged with the trained ones; 0: no average."""
    mask_share: float = 0.2
    """The share of tokens that pre-training masks and predicts."""
    seed: int = 1
    max_steps: int = 0
    """Stop after this many steps; 0: after the last epoch."""
    window: int = 512
    """Length of the windows that the bundle cuts texts into."""

    def __post_init__(self) -> None:
        """Raise RecipeError on a value that cannot work."""
        for is_valid, message in _checks(self):
            if not is_valid:
                raise RecipeError(message, code="invalid-value")


_POSITIVE = ("learning_rate", "temperature", "texts_per_batch")
_NOT_NEGATIVE = ("weight_decay", "max_gradient_norm", "max_steps", "stars_weight", "pool_after")
_BELOW_1 = ("warmup", "dropout", "attention_dropout", "ema_decay", "base_share")
_UP_TO_1 = ("head_share", "teacher_weight")


def _checks(stage: Stage) -> Iterator[tuple[bool, str]]:
    """Yield conditions, and the message for each that is not met."""
    ranges: list[tuple[tuple[str, ...], Callable[[float], bool], str]] = [
        (_POSITIVE, lambda value: 0 < value < inf, "a number above 0"),
        (_NOT_NEGATIVE, lambda value: 0 <= value < inf, "a number from 0"),
        (_BELOW_1, lambda value: 0 <= value < 1, "a number from 0 and below 1"),
        (_UP_TO_1, lambda value: 0 <= value <= 1, "a number from 0 to 1"),
        (("mask_share",), lambda value: 0 < value < 1, "a number above 0 and below 1"),
        (("window",), lambda value: value >= _MIN_LENGTH, f"{_MIN_LENGTH} tokens or more"),
    ]
    for names, is_valid, expected in ranges:
        for name in names:
            value = getattr(stage, name)
            yield is_valid(value), f"{name}: expected {expected}, not {value!r}"
    unknown = sorted(set(stage.data) - set(SOURCES))
    yield stage.kind in KINDS, f"kind: expected one of {', '.join(KINDS)}, not {stage.kind!r}"
    yield not unknown, f"data: unknown {', '.join(unknown)}; known: {', '.join(SOURCES)}"
    yield (
        all(0 < value < inf for value in stage.data.values()),
        f"data: expected numbers above 0, not {stage.data}",
    )
    yield (
        min(stage.lengths, default=0) >= _MIN_LENGTH,
        f"lengths: expected one or more lengths of {_MIN_LENGTH} tokens or more, not "
        f"{list(stage.lengths)}",
    )
    yield (
        max(stage.lengths, default=0) <= stage.tokens_per_batch,
        f"tokens_per_batch: {stage.tokens_per_batch} is less than the longest of lengths",
    )
    yield (
        stage.kind != "distill" or bool(stage.teachers or stage.teacher_logits),
        'kind: "distill" needs teachers or teacher_logits',
    )


@dataclass(frozen=True, slots=True)
class Recipe:
    """The stages of a model, in order."""

    stages: tuple[Stage, ...]

    @property
    def last(self) -> Stage:
        """The stage whose checkpoint is the model."""
        return self.stages[-1]


def check_lengths(max_length: int, **lengths: int) -> None:
    """Raise RecipeError if one of `lengths` exceeds the `max_length` of a model."""
    for name, length in lengths.items():
        if length > max_length:
            raise RecipeError(
                f"{name}: {length} tokens, but the model reads at most {max_length}",
                code="invalid-value",
            )


def read_recipe(path: Path) -> Recipe:
    """Read a recipe.

    Raises:
        RecipeError: The file cannot be read, or a key is missing, unknown or invalid.
    """
    try:
        with path.open("rb") as file:
            table = tomllib.load(file)
    except OSError as error:
        raise RecipeError(f"cannot read {path}: {error.strerror}", code="unreadable") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not valid TOML: {error}", code="unreadable") from error
    if "stage" in table:
        shared = {key: value for key, value in table.items() if key != "stage"}
        stages = [
            _parse_stage(
                shared | own | {"name": shared.get("name"), "stage": own["name"]},
                f"{path}, stage {own['name']}",
            )
            for own in _stage_tables(table["stage"], path)
        ]
    else:
        stages = [_parse_stage(table, str(path))]
    [(name, count)] = Counter(stage.stage for stage in stages).most_common(1)
    if count > 1:
        raise RecipeError(f"{path}: {count} stages have the name {name!r}", code="duplicate-stage")
    return Recipe(tuple(stages))


def _stage_tables(value: object, path: Path) -> list[dict[str, Any]]:
    """Return the [[stage]] tables, each of which has a name."""
    if not (isinstance(value, list) and value and all(isinstance(table, dict) for table in value)):
        raise RecipeError(f"{path}: stage: expected one or more [[stage]] tables, not {value!r}")
    for number, table in enumerate(value, start=1):
        if not isinstance(table.get("name"), str):
            raise RecipeError(f"{path}: stage {number}: name is missing", code="missing-key")
    return value


def _parse_stage(table: dict[str, Any], where: str) -> Stage:
    types = {field.name: str(field.type) for field in fields(Stage)}
    settings = {}
    for key, value in table.items():
        if key not in types:
            raise RecipeError(
                f"{where}: unknown key {key!r}; known: {', '.join(types)}", code="unknown-key"
            )
        if value is not None:
            settings[key] = _convert(value, types[key], where=f"{where}: {key}")
    for key in ("name", "base", "lengths"):
        if key not in settings:
            raise RecipeError(f"{where}: {key} is missing", code="missing-key")
    try:
        return Stage(**settings)
    except RecipeError as error:
        raise RecipeError(f"{where}: {error}", code=error.code) from error


def _convert(value: object, type_name: str, where: str) -> Any:
    """Return `value` as the field's type, or raise RecipeError. A bool is not a number."""
    match type_name, value:
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
            return {key: _convert(item, "float", f"{where}.{key}") for key, item in value.items()}
    raise RecipeError(f"{where}: expected {type_name}, not {value!r}", code="invalid-value")
