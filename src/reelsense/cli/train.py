"""The command `reelsense train`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reelsense.cli import options

if TYPE_CHECKING:
    from reelsense.datasets.labelled import LabelledData


@click.command()
@options.labelled_data
@click.option(
    "--recipe", "recipe_file", type=options.PATH, required=True, help="TOML file with the stages."
)
@click.option(
    "--evaluation-sets",
    type=options.PATH,
    help="Folder with edited reviews and single sentences, for recipes that use them (see "
    "`reelsense data fetch evaluation-sets`).",
)
@click.option(
    "--base-model",
    help="Pre-trained encoder: a hub id or a folder. Default: the recipe's.",
)
@click.option(
    "--extra-data",
    type=options.PATH,
    multiple=True,
    help="A .jsonl file of further examples with a probability for each label, such as "
    '{"text": "...", "target": {"negative": 0.1, "positive": 0.9}}. Repeatable.',
)
@click.option("--output", type=options.PATH, required=True, help="Folder for the checkpoint.")
@click.option("--resume", is_flag=True, help="Continue the interrupted run in --output.")
@click.option(
    "--max-steps", type=click.IntRange(1), help="Stop every stage after this many training steps."
)
@click.option(
    "--gradient-accumulation-steps",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Split every batch into this many micro-batches: the same result with less memory.",
)
def train(
    source: LabelledData,
    recipe_file: Path,
    evaluation_sets: Path | None,
    base_model: str | None,
    extra_data: tuple[Path, ...],
    output: Path,
    resume: bool,
    max_steps: int | None,
    gradient_accumulation_steps: int,
) -> None:
    """Train a model: run the stages of a recipe.

    Stages continue the pre-training of an encoder, fine-tune it on labelled texts, or distil
    teachers into it. On several processes: `torchrun --nproc-per-node N -m reelsense train ...`.
    """
    from reelsense.training import pipeline
    from reelsense.training.processes import Processes
    from reelsense.training.recipe import Recipe, read_recipe
    from reelsense.training.sources import TrainingData

    processes = Processes(gradient_accumulation_steps)
    recipe = read_recipe(recipe_file)
    if max_steps:
        recipe = Recipe(tuple(replace(stage, max_steps=max_steps) for stage in recipe.stages))
    pipeline.run(
        recipe,
        TrainingData(source, evaluation_sets, extra_data),
        output,
        recipe_folder=recipe_file.parent,
        base=base_model,
        resume=resume,
        processes=processes,
    )
    processes.print(f"the checkpoint is in {output}")
    processes.shut_down()
