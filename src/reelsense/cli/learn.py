"""Commands that make a model: data, train, export, baseline."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reelsense.cli import options

if TYPE_CHECKING:
    from reelsense.training.recipe import Recipe


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


_recipe = click.option(
    "--recipe", "recipe_file", type=options.PATH, required=True, help="A TOML file."
)
_base = click.option(
    "--base", help="The pre-trained BERT: a hub id or a folder; by default the recipe's."
)
_resume = click.option("--resume", is_flag=True, help="Go on with the interrupted run in --out.")
_steps = click.option("--steps", type=click.IntRange(1), help="Stop after so many, for a try.")
_accumulate = click.option(
    "--accumulate",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Cut every batch into so many parts: the same model, in less memory.",
)


@click.command(short_help="Let a pre-trained BERT read on in your texts.")
@options.labelled_data
@_recipe
@_base
@click.option("--out", type=options.PATH, required=True, help="Folder for the new base.")
@_resume
@_steps
@_accumulate
def pretrain(
    data: Path,
    text_column: str,
    label_column: str,
    recipe_file: Path,
    base: str | None,
    out: Path,
    resume: bool,
    steps: int | None,
    accumulate: int,
) -> None:
    """Let a pre-trained BERT read on in your texts before it is fine-tuned.

    It guesses hidden words; labels are not looked at. `reelsense train --base OUT` goes on.
    On several processes: `torchrun --nproc-per-node N -m reelsense pretrain ...`.
    """
    from reelsense.datasets.sources import Source
    from reelsense.training.pretrain import pretrain as read_on
    from reelsense.training.processes import Processes

    processes = Processes(accumulate)
    recipe, folder = _recipe_and_base(recipe_file, base, steps)
    source = Source(data, text_column, label_column)
    split, _ = source.for_training()
    texts = list(dict.fromkeys([*(r.text for r in split.train), *source.unlabelled_texts()]))
    processes.say(f"{len(texts):,} texts to read")
    loss = read_on(recipe, folder, texts, out, resume=resume, processes=processes)
    processes.say(f"loss of the last steps {loss:.3f}; the new base is in {out}")
    processes.end()


@click.command()
@options.labelled_data
@click.option(
    "--teacher",
    "teachers",
    type=options.PATH,
    multiple=True,
    help="Folder of a bundle; several are averaged. By default the model that comes along.",
)
@click.option(
    "--evaluation-sets",
    "sets_folder",
    type=options.PATH,
    help="Take edited reviews and single sentences from there: their train parts.",
)
@click.option(
    "--unlabelled",
    type=click.IntRange(0),
    help="How many of the unlabelled reviews, drawn by chance; by default all.",
)
@click.option(
    "--identity-sets",
    type=click.IntRange(0),
    default=600,
    show_default=True,
    help="The most sets of sentences with swapped words of identity, of each category and origin.",
)
@click.option("--out", type=options.PATH, required=True, help="A .jsonl file of examples.")
def teach(
    data: Path,
    text_column: str,
    label_column: str,
    teachers: tuple[Path, ...],
    sets_folder: Path | None,
    unlabelled: int | None,
    identity_sets: int,
    out: Path,
) -> None:
    """Make examples to learn from beside the labelled reviews.

    A teacher says what it thinks of the unlabelled reviews, and of sentences in which words of
    identity are swapped, which then all get the same probabilities. Stopped and called again, it
    goes on where it was.
    """
    from reelsense.datasets.evaluation_sets import read_training_sets
    from reelsense.datasets.sources import Source
    from reelsense.inference.classifier import Classifier
    from reelsense.training.examples import write_examples
    from reelsense.training.teach import (
        identity_examples,
        outside_examples,
        unlabelled_examples,
    )

    source = Source(data, text_column, label_column)
    split, labels = source.for_training()
    loaded = [Classifier.load(teacher) for teacher in teachers or [None]]
    for each in loaded:
        if list(each.labels) != labels:
            raise click.UsageError(f"a teacher knows {list(each.labels)}, the data {labels}")
    taught_by = "-".join(each.manifest.version for each in loaded)
    kept = [
        out.with_name(f".{out.name}.{part}.{taught_by}.part") for part in ("unlabelled", "identity")
    ]
    texts = source.unlabelled_texts()
    if unlabelled is not None and unlabelled < len(texts):
        texts = random.Random(0).sample(texts, unlabelled)
    examples = unlabelled_examples(loaded, texts, kept[0])
    if {"negative", "positive"} <= set(labels):
        examples += identity_examples(loaded, split.train, kept[1], identity_sets)
    if sets_folder:
        apart = source.texts_kept_apart()
        examples += outside_examples(read_training_sets(sets_folder), labels, apart)
    write_examples(out, examples, labels)
    for path in kept:
        path.unlink(missing_ok=True)
    click.echo(f"{len(examples):,} examples in {out}: reelsense train --extra {out}")


@click.command()
@options.labelled_data
@_recipe
@_base
@click.option(
    "--extra",
    type=options.PATH,
    multiple=True,
    help="A file of examples to learn from as well, as `reelsense teach` makes it.",
)
@click.option("--out", type=options.PATH, required=True, help="Folder for the checkpoint.")
@_resume
@_steps
@_accumulate
def train(
    data: Path,
    text_column: str,
    label_column: str,
    recipe_file: Path,
    base: str | None,
    extra: tuple[Path, ...],
    out: Path,
    resume: bool,
    steps: int | None,
    accumulate: int,
) -> None:
    """Fine-tune a pre-trained BERT on labelled reviews.

    On several processes: `torchrun --nproc-per-node N -m reelsense train ...`.
    """
    from reelsense.datasets.sources import Source
    from reelsense.training.examples import read_examples
    from reelsense.training.finetune import finetune
    from reelsense.training.processes import Processes

    processes = Processes(accumulate)
    recipe, folder = _recipe_and_base(recipe_file, base, steps)
    split, labels = Source(data, text_column, label_column).for_training()
    examples = [example for path in extra for example in read_examples(path, labels)]
    processes.say(
        f"{len(split.train):,} reviews{f' and {len(examples):,} examples' if examples else ''} to "
        f"learn from, {len(split.held_out):,} held out"
    )
    history = finetune(
        recipe, folder, split, labels, out, extra=examples, resume=resume, processes=processes
    )
    best = min(history, key=lambda epoch: epoch["loss"])
    processes.say(f"held-out accuracy {best['accuracy']:.2%}; the checkpoint is in {out}")
    processes.end()


def _recipe_and_base(recipe_file: Path, base: str | None, steps: int | None) -> tuple[Recipe, Path]:
    from reelsense.training.base import base_name, find_base
    from reelsense.training.recipe import read_recipe

    recipe = read_recipe(recipe_file)
    if steps:
        recipe = replace(recipe, most_steps=steps)
    folder = find_base(base or recipe.base)
    if base:
        recipe = replace(recipe, base=base_name(base))
    return recipe, folder


@click.command()
@click.argument("checkpoint", type=options.PATH)
@options.labelled_data
@options.validation_sets
@click.option("--out", type=options.PATH, required=True, help="Folder for the bundle.")
def export(
    checkpoint: Path,
    data: Path,
    text_column: str,
    label_column: str,
    sets_folder: Path | None,
    out: Path,
) -> None:
    """Turn a checkpoint into a bundle, ready to serve.

    The bundle is int8, and checked against CHECKPOINT, the folder that `reelsense train` wrote.
    --data is the data it was trained on.
    """
    from reelsense.datasets.sources import Source
    from reelsense.evaluation.calibrate import sentence_set
    from reelsense.training.export import export as pack

    source = Source(data, text_column, label_column)
    split, labels = source.for_training()
    more = [sentence_set(sets_folder)] if sets_folder else []
    parity = pack(checkpoint, split.held_out, labels, out, data=source.name, calibrate_on=more)
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
