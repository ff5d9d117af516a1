"""Commands that make a model: data, train, export, baseline."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from reelsense.cli import options


@click.group()
def data() -> None:
    """Fetch datasets."""


@data.command()
@click.argument("dataset", type=click.Choice(["imdb", "evaluation-sets"]))
@click.option(
    "--from",
    "given",
    type=options.PATH,
    help="What you have: of imdb, aclImdb_v1.tar.gz or its folder; else the folder "
    "data/evaluation-sets of another machine.",
)
@click.option("--out", type=options.PATH, default=Path("data"), show_default=True)
def fetch(dataset: str, given: Path | None, out: Path) -> None:
    """Download and verify a dataset.

    imdb: the Large Movie Review Dataset (84 MB), unpacked, to train and to test on.

    evaluation-sets: what `reelsense evaluate` measures robustness on (8 MB). Each has its own
    terms: IMDb contrast sets (no licence file), counterfactually augmented reviews (Apache-2.0),
    the audit of IMDb's test labels (Apache-2.0), SST-2 (the terms of GLUE).
    """
    from reelsense.datasets.fetch import fetch_evaluation_sets, fetch_imdb

    if dataset == "imdb":
        click.echo(f"imdb is ready: --data {fetch_imdb(out, given)}")
    else:
        folder = fetch_evaluation_sets(out, given)
        click.echo(f"evaluation-sets are ready: --evaluation-sets {folder}")


@click.command()
@options.labelled_data
@click.option("--recipe", "recipe_file", type=options.PATH, required=True, help="A TOML file.")
@click.option(
    "--evaluation-sets",
    type=options.PATH,
    help="Folder of edited reviews and single sentences, for recipes that learn from them.",
)
@click.option(
    "--base-model",
    help="The pre-trained encoder: a hub id or a folder. By default the recipe's.",
)
@click.option(
    "--extra-data",
    type=options.PATH,
    multiple=True,
    help="A .jsonl file of examples to learn from as well, with a probability for each label.",
)
@click.option("--output", type=options.PATH, required=True, help="Folder for the checkpoint.")
@click.option("--resume", is_flag=True, help="Continue the interrupted run in --output.")
@click.option("--max-steps", type=click.IntRange(1), help="Stop every stage after this many steps.")
@click.option(
    "--gradient-accumulation-steps",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Split every batch into this many parts: the same model in less memory.",
)
def train(
    data: Path,
    text_column: str,
    label_column: str,
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

    Stages pre-train an encoder further, fine-tune it on labelled texts, or distil teachers into
    it. On several processes: `torchrun --nproc-per-node N -m reelsense train ...`.
    """
    from reelsense.datasets.labelled import Source
    from reelsense.training import pipeline
    from reelsense.training.distributed import Processes
    from reelsense.training.recipe import Recipe, read_recipe
    from reelsense.training.sources import TrainingData

    processes = Processes(gradient_accumulation_steps)
    recipe = read_recipe(recipe_file)
    if max_steps:
        recipe = Recipe(tuple(replace(stage, max_steps=max_steps) for stage in recipe.stages))
    pipeline.run(
        recipe,
        TrainingData(Source(data, text_column, label_column), evaluation_sets, extra_data),
        output,
        recipe_folder=recipe_file.parent,
        base=base_model,
        resume=resume,
        processes=processes,
    )
    processes.say(f"the checkpoint is in {output}")
    processes.end()


@click.command()
@click.argument("checkpoint", type=options.PATH)
@options.labelled_data
@options.validation_sets
@click.option("--output", type=options.PATH, required=True, help="Folder for the bundle.")
def export(
    checkpoint: Path,
    data: Path,
    text_column: str,
    label_column: str,
    sets_folder: Path | None,
    output: Path,
) -> None:
    """Turn a checkpoint into a bundle, ready to serve.

    The bundle is int8, and checked against CHECKPOINT, the folder that `reelsense train` wrote.
    --data is the data it was trained on.
    """
    from reelsense.datasets.labelled import Source
    from reelsense.evaluation.calibrate import sentence_set
    from reelsense.training.export import export as pack

    source = Source(data, text_column, label_column)
    split, labels = source.for_training()
    more = [sentence_set(sets_folder)] if sets_folder else []
    parity = pack(checkpoint, split.held_out, labels, output, data=source.name, calibrate_on=more)
    click.echo(
        f"{output}: the label of the checkpoint on {parity.agreement:.2%} of {parity.reviews} "
        f"held-out reviews; accuracy {parity.accuracy_int8:.2%}, before int8 "
        f"{parity.accuracy_fp32:.2%}"
    )


@click.command()
@options.labelled_data
@click.option("--test", "on_test", is_flag=True, help="Score the official test part as well.")
def baseline(data: Path, text_column: str, label_column: str, on_test: bool) -> None:
    """Train a bag-of-words classifier to compare with.

    It learns from the same reviews as BERT does, and so shows what BERT buys.
    """
    from reelsense.datasets.labelled import Source
    from reelsense.evaluation.baseline import train_baseline
    from reelsense.evaluation.predictions import judge

    source = Source(data, text_column, label_column)
    model = train_baseline(*source.for_training())
    click.echo(f"bag of 1- and 2-grams, tf-idf, logistic regression (C = {model.strength:g})")
    click.echo(f"held-out accuracy {model.held_out_accuracy:.2%}")
    if on_test:
        correct = judge(model, source.part("test")).correct
        click.echo(f"test accuracy     {correct.mean():.2%}")
