"""Recipes: TOML files that describe the stages in which a model is trained.

Top-level keys are settings of every stage; `name` is the name of the model. A `[[stage]]` table has
the name of the stage and overrides settings. A recipe without such tables has one stage.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)
from pydantic.dataclasses import dataclass

from reelsense.errors import RecipeError
from reelsense.files import read_text

# What a stage can be trained on: see `sources`.
Source = Literal[
    "reviews", "unlabelled", "edited", "sentences", "phrases", "behaviours", "noisy", "identity",
    "extra", "feedback",
]  # fmt: skip

Length = Annotated[int, Field(ge=8)]  # tokens
Share = Annotated[float, Field(ge=0, le=1)]
ShareBelow1 = Annotated[float, Field(ge=0, lt=1)]
ValidationShare = Annotated[float, Field(ge=0, le=0.5)]
Names = Annotated[tuple[str, ...], Field(strict=False)]  # not strict: TOML has lists

_CONFIG = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


@dataclass(frozen=True, slots=True, kw_only=True, config=_CONFIG)
class Stage:
    """Settings of one stage of training. Lengths and batches are counted in tokens."""

    name: str  # of the model
    base: str  # the pre-trained encoder: a hub id, a folder, or the name of an earlier stage
    # The length that texts are cut to in each epoch. Without `epochs`, one epoch for each.
    lengths: Annotated[tuple[Length, ...], Field(min_length=1, strict=False)]
    epochs: NonNegativeInt = 0  # of the same length: `lengths` has one
    stage: str = "train"  # its name
    # "distill" is fine-tuning with the logits of teachers as additional targets.
    kind: Literal["finetune", "distill", "pretrain"] = "finetune"
    # What to train on, and how often each text is in an epoch; 0.5: a random half of the texts.
    data: dict[Source, PositiveFloat] = field(default_factory=lambda: {"reviews": 1.0})
    # Earlier stages, bundles by name or folder, or "bag-of-words". Their logits are averaged.
    teachers: Names = ()
    # A file with logits of teachers, relative to the recipe. Its texts are not scored again.
    teacher_logits: str = ""
    temperature: PositiveFloat = 1.0  # divides the logits in the distillation loss
    teacher_weight: Share = 0.5  # of the distillation loss; the loss over the labels has the rest
    head_share: Share = 1 / 3  # the share of a cut text that is its beginning; the rest is its end
    tokens_per_batch: int = 6144
    texts_per_batch: PositiveInt = 1024  # maximum; in a large batch each short text counts little
    learning_rate: PositiveFloat = 8e-5  # the peak; then it decays linearly to 0
    warmup: ShareBelow1 = 0.06  # the share of all steps over which the learning rate rises
    weight_decay: NonNegativeFloat = 0.01
    dropout: ShareBelow1 = 0.1  # of hidden states and before the classifier
    attention_dropout: ShareBelow1 = 0.0  # above 0 it costs a third of the speed on CPUs
    max_gradient_norm: NonNegativeFloat = 1.0
    stars_weight: NonNegativeFloat = 0.0  # of the loss over star ratings; 0: stars are not learned
    # Average neighbouring hidden states in pairs after this many layers (BERT only); 0: never.
    pool_after: NonNegativeInt = 0
    # What the output layer reads: what the head makes of the "first" token, or the "mean" of the
    # last hidden states (BERT, MPNet, RoBERTa); "": as the checkpoint, or "first".
    sentence_vector: Literal["", "first", "mean"] = ""
    # Whether the output layer starts from a logistic regression on the vectors that it reads.
    fit_output_layer: bool = False
    frozen_embeddings: bool = False  # word embeddings stay as they are: faster on few texts
    # Whether the identity terms of a category start from one embedding, their mean.
    shared_identity_embeddings: bool = False
    # Decay of the moving average of the weights, which is saved; 0: the last weights are saved.
    ema_decay: ShareBelow1 = 0.0
    # Weight of the initial weights when they are averaged with the trained ones; 0: no average.
    base_share: ShareBelow1 = 0.0
    mask_share: Annotated[float, Field(gt=0, lt=1)] = 0.2  # of the tokens, in pre-training
    # Exponent of the weight of a label, its inverse frequency: 0: all texts count the same, 1: all
    # labels do.
    class_weights: Share = 0.0
    validation_share: ValidationShare = 0.0  # of each label; 0: see `datasets.reviews`
    group_column: str = ""  # of a table: its values are in one part only; "": texts are
    patience: NonNegativeInt = 0  # stop after so many epochs without a lower loss; 0: never
    seed: int = 1
    max_steps: NonNegativeInt = 0  # 0: all epochs
    window: Length = 512  # of the bundle, which cuts texts into windows

    @property
    def epoch_lengths(self) -> tuple[int, ...]:
        """The length that texts are cut to in each epoch."""
        return self.lengths * max(1, self.epochs)

    @model_validator(mode="after")
    def _check(self) -> Stage:
        if self.epochs and len(self.lengths) > 1:
            raise ValueError("epochs: expected one length in lengths, which all epochs have")
        if max(self.lengths) > self.tokens_per_batch:
            raise ValueError("tokens_per_batch: expected the longest of lengths or more")
        if self.kind == "distill" and not (self.teachers or self.teacher_logits):
            raise ValueError('kind: "distill" needs teachers or teacher_logits')
        return self


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
    """Read a recipe. Raises RecipeError if a key is missing, unknown or invalid."""
    try:
        table = tomllib.loads(read_text(path, RecipeError))
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{path} is not valid TOML: {error}", code="unreadable") from error
    if "stage" not in table:
        return Recipe((_parse_stage(table, str(path)),))
    own_tables = table.pop("stage")
    if not (isinstance(own_tables, list) and all(isinstance(own, dict) for own in own_tables)):
        raise RecipeError(f"{path}: stage: expected [[stage]] tables, not {own_tables!r}")
    stages = []
    for number, own in enumerate(own_tables, start=1):
        if "name" not in own:
            raise RecipeError(f"{path}: stage {number}: name is missing", code="missing-key")
        own["stage"] = own.pop("name")
        stages.append(_parse_stage(table | own, f"{path}, stage {own['stage']}"))
    if not stages:
        raise RecipeError(f"{path}: stage: expected one or more [[stage]] tables")
    [(name, count)] = Counter(stage.stage for stage in stages).most_common(1)
    if count > 1:
        raise RecipeError(f"{path}: {count} stages have the name {name!r}", code="duplicate-stage")
    if len({(stage.validation_share, stage.group_column) for stage in stages}) > 1:
        raise RecipeError(
            f"{path}: stages have different validation sets: move validation_share and "
            "group_column above the stages",
            code="invalid-value",
        )
    return Recipe(tuple(stages))


LAST_STAGE_SETTINGS = ("epochs", "learning_rate")


def override(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """Return `recipe` with other `settings`; None keeps a value.

    `LAST_STAGE_SETTINGS` apply to the last stage, the others to all of them. Raises RecipeError if
    a value is invalid.
    """
    given = {key: value for key, value in settings.items() if value is not None}
    shared = {key: value for key, value in given.items() if key not in LAST_STAGE_SETTINGS}
    stages = [
        _parse_stage(
            asdict(stage) | (given if stage is recipe.last else shared),
            f"stage {stage.stage} with the options of the command",
        )
        for stage in recipe.stages
    ]
    return Recipe(tuple(stages))


def add_source(recipe: Recipe, source: Source, times: float) -> Recipe:
    """Return `recipe` with the texts of `source` in all stages that learn labels.

    They are in every epoch `times` times, unless a stage already sets that.
    """
    stages = [
        stage if stage.kind == "pretrain" else replace(stage, data={source: times} | stage.data)
        for stage in recipe.stages
    ]
    return Recipe(tuple(stages))


def _parse_stage(table: dict[str, Any], where: str) -> Stage:
    try:
        return Stage(**table)
    except ValidationError as error:
        [problem, *_] = error.errors()
    key = ".".join(str(part) for part in problem["loc"] if part != "[key]")
    match problem["type"]:
        case "missing":
            raise RecipeError(f"{where}: {key} is missing", code="missing-key")
        case "unexpected_keyword_argument":
            known = ", ".join(setting.name for setting in fields(Stage))
            raise RecipeError(f"{where}: unknown key {key!r}; known: {known}", code="unknown-key")
        case "value_error":
            raise RecipeError(f"{where}: {problem['ctx']['error']}", code="invalid-value")
    reason = problem["msg"].replace("Input should be", "expected")
    raise RecipeError(
        f"{where}: invalid {key} {problem['input']!r}: {reason}", code="invalid-value"
    )
