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
    "--from", "given", type=options.PATH, help="A folder that you have; of imdb, or its archive."
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
@click.option("--base", help="The pre-trained BERT: a hub id or a folder; by default the recipe's.")
@click.option("--out", type=options.PATH, required=True, help="Folder for the checkpoint.")
@click.option("--resume", is_flag=True, help="Go on with the interrupted run in --out.")
@click.option("--steps", type=click.IntRange(1), help="Stop after so many steps, for a try.")
def train(
    data: Path,
    text_column: str,
    label_column: str,
    recipe_file: Path,
    base: str | None,
    out: Path,
    resume: bool,
    steps: int | None,
) -> None:
    """Fine-tune a pre-trained BERT on labelled reviews."""
    from reelsense.datasets.sources import Source
    from reelsense.training.base import find_base
    from reelsense.training.finetune import finetune
    from reelsense.training.recipe import read_recipe

    recipe = read_recipe(recipe_file)
    if steps:
        recipe = replace(recipe, most_steps=steps)
    folder = find_base(base or recipe.base)
    if base:  # of a folder, the name: where it lies is nobody's business
        recipe = replace(recipe, base=folder.absolute().name if Path(base).is_dir() else base)
    split, labels = Source(data, text_column, label_column).for_training()
    click.echo(f"{len(split.train):,} reviews to learn from, {len(split.held_out):,} held out")
    history = finetune(recipe, folder, split, labels, out, resume=resume)
    best = min(history, key=lambda epoch: epoch["loss"])
    click.echo(f"held-out accuracy {best['accuracy']:.2%}; the checkpoint is in {out}")


@click.command()
@click.argument("checkpoint", type=options.PATH)
@options.labelled_data
@click.option("--out", type=options.PATH, required=True, help="Folder for the bundle.")
def export(checkpoint: Path, data: Path, text_column: str, label_column: str, out: Path) -> None:
    """Turn a checkpoint into a bundle, ready to serve.

    The bundle is int8, and checked against CHECKPOINT, the folder that `reelsense train` wrote.
    --data is the data it was trained on.
    """
    from reelsense.datasets.sources import Source
    from reelsense.training.export import export as pack

    source = Source(data, text_column, label_column)
    split, labels = source.for_training()
    parity = pack(checkpoint, split, labels, out, data=source.name)
    click.echo(
        f"{out}: the label of the checkpoint on {parity.agreement:.2%} of {parity.reviews} "
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
    from reelsense.datasets.sources import Source
    from reelsense.evaluation.baseline import train_baseline
    from reelsense.evaluation.judged import judge

    source = Source(data, text_column, label_column)
    model = train_baseline(*source.for_training())
    click.echo(f"bag of 1- and 2-grams, tf-idf, logistic regression (C = {model.strength:g})")
    click.echo(f"held-out accuracy {model.held_out_accuracy:.2%}")
    if on_test:
        correct = judge(model, source.part("test")).correct
        click.echo(f"test accuracy     {correct.mean():.2%}")
