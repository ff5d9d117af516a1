"""The command `reelsense train`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reelsense.cli import options, table_options
from reelsense.errors import InputError
from reelsense.text.controls import escape_controls

if TYPE_CHECKING:
    from reelsense.datasets.feedback import TrainingFeedback
    from reelsense.datasets.labelled import LabelledData
    from reelsense.training.processes import Processes
    from reelsense.training.recipe import Recipe
    from reelsense.training.sources import TrainingData


def training_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the data, settings and output of a training run: arguments of `run_training`."""
    for option in reversed(_TRAINING_OPTIONS):
        command = option(command)
    return table_options.labelled_data(command)


_TRAINING_OPTIONS = (
    click.option(
        "--recipe",
        "recipe_file",
        type=options.PATH,
        help="TOML file with the stages. Default: fine-tuning with settings derived from the data.",
    ),
    click.option(
        "--evaluation-sets",
        type=options.PATH,
        help="Folder with edited reviews and single sentences, for recipes that use them (see "
        "`reelsense data fetch evaluation-sets`).",
    ),
    click.option(
        "--base-model",
        help="Pre-trained encoder: a hub id or a folder. Default: that of the recipe; without one, "
        "the checkpoint of the default model for sentiments, and a MiniLM-L6 for other labels.",
    ),
    click.option(
        "--extra-data",
        type=options.PATH,
        multiple=True,
        help="A .jsonl file of further examples with a probability for each label, such as "
        '{"text": "...", "target": {"negative": 0.1, "positive": 0.9}}. Repeatable.',
    ),
    click.option("--output", type=options.PATH, required=True, help="Folder for the checkpoint."),
    click.option("--name", help="Name of the model. Default: that of the recipe or of the data."),
    click.option("--epochs", type=click.IntRange(1), help="Number of epochs of the last stage."),
    click.option(
        "--learning-rate",
        type=click.FloatRange(0, min_open=True),
        help="Highest learning rate of the last stage.",
    ),
    click.option(
        "--batch-tokens",
        "tokens_per_batch",
        type=click.IntRange(8),
        help="Maximum number of tokens in a batch: fewer need less memory.",
    ),
    click.option(
        "--seed", type=int, help="Seed of the random numbers. It does not change the split."
    ),
    click.option(
        "--validation-share",
        type=click.FloatRange(0, 0.5, min_open=True),
        help="Share of the rows of each label for validation. Default: 10 %, at least 30 rows of "
        "each label if possible, at most about 2,500 rows.",
    ),
    click.option(
        "--group-column",
        help="Column whose values are not split between training and validation, such as a "
        "customer.",
    ),
    click.option("--resume", is_flag=True, help="Continue the interrupted run in --output."),
    click.option(
        "--max-steps",
        type=click.IntRange(1),
        help="Stop every stage after this many training steps.",
    ),
    click.option(
        "--gradient-accumulation-steps",
        type=click.IntRange(1),
        default=1,
        show_default=True,
        help="Split every batch into this many micro-batches: the same result with less memory.",
    ),
)


@click.command()
@training_options
def train(**arguments: Any) -> None:
    """Train a model on labelled texts.

    The settings are derived from the texts, or come from a recipe. The stages of a recipe continue
    the pre-training of an encoder, fine-tune it on labelled texts, or distil teachers into it. On
    several processes: `torchrun --nproc-per-node N -m reelsense train ...`.
    """
    _, processes = run_training(**arguments)
    processes.shut_down()


def run_training(
    source: LabelledData,
    recipe_file: Path | None,
    evaluation_sets: Path | None,
    base_model: str | None,
    extra_data: tuple[Path, ...],
    output: Path,
    resume: bool,
    gradient_accumulation_steps: int,
    feedback: TrainingFeedback | None = None,
    feedback_weight: float = 1.0,
    expected_labels: Sequence[str] = (),
    **settings: str | float | None,
) -> tuple[TrainingData, Processes]:
    """Train as the options say, with `feedback` as additional data.

    Returns the data and the processes, which must be shut down. Raises InputError if the data does
    not have the `expected_labels`.
    """
    from reelsense.datasets.checks import describe_data
    from reelsense.evaluation.label_quality import describe_suspects
    from reelsense.training import checkpoint, pipeline
    from reelsense.training.outcome import describe_outcome, read_outcome
    from reelsense.training.processes import Processes
    from reelsense.training.recipe import add_source, override, read_recipe
    from reelsense.training.sources import TrainingData

    processes = Processes(gradient_accumulation_steps)
    recipe = override(read_recipe(recipe_file), settings) if recipe_file else None
    source = source.split_as(asdict(recipe.last) if recipe else settings)
    data = TrainingData(source, evaluation_sets, extra_data, feedback)
    if expected_labels and set(data.labels) != set(expected_labels):
        raise InputError(
            f"{source.name} has the labels {', '.join(data.labels)}, the champion "
            f"{', '.join(expected_labels)}: rename the labels, or use another model directory",
            code="labels-differ",
        )
    split = data.split
    rows = [*split.train, *split.validation] if feedback else source.labelled()
    _print(processes, describe_data(rows, split))
    if processes.is_main and not resume:
        _print(processes, describe_suspects(rows))
    recipe = recipe or _derive_recipe(data, base_model, settings, processes)
    if feedback:
        recipe = add_source(recipe, "feedback", feedback_weight)
    pipeline.run(
        recipe,
        data,
        output,
        recipe_folder=recipe_file.parent if recipe_file else Path(),
        base=base_model,
        resume=resume,
        processes=processes,
    )
    outcome = read_outcome(checkpoint.read_metadata(output))
    if outcome and processes.is_main:
        _print(processes, describe_outcome(outcome, data))
    processes.print(f"the checkpoint is in {output}")
    return data, processes


def _derive_recipe(
    data: TrainingData,
    base: str | None,
    settings: Mapping[str, object],
    processes: Processes,
) -> Recipe:
    """Return and print the recipe for `data`, with the `settings` of the command."""
    from reelsense.training.defaults import default_base, derive_recipe, describe_settings
    from reelsense.training.recipe import override

    base, reason = (base, "--base-model") if base else default_base(data.labels)
    name = data.source.path.name.partition(".")[0]
    recipe = override(derive_recipe(name, base, data.split.train), settings)
    _print(processes, describe_settings(recipe.last, reason, len(data.split.train)))
    return recipe


def _print(processes: Processes, lines: Iterable[str]) -> None:
    """Print lines with texts of the user in the main process."""
    for line in lines:
        processes.print(escape_controls(line))
