"""Commands that answer with a model: predict, serve, evaluate."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path

import click

from reelsense.cli import options


@click.command()
@click.argument("text", required=False)
@click.option(
    "--input",
    "source",
    type=options.PATH,
    help="A .txt (one review a line), .csv, .tsv or .jsonl file; - reads lines of text.",
)
@click.option("--output", type=options.PATH, help="Where to write; by default to the terminal.")
@click.option("--column", default="text", show_default=True, help="The texts in a table.")
@options.model
def predict(
    text: str | None, source: Path | None, output: Path | None, column: str, model: Path | None
) -> None:
    """Say whether a text is positive or negative.

    Scores TEXT, or every text of the file --input.
    """
    if (text is None) == (source is None):
        raise click.UsageError('pass one of TEXT (in quotes; "-" for standard input) and --input')
    if output is not None and source is None:
        raise click.UsageError("--output goes with --input: the answer for one TEXT is printed")
    if text == "-":
        text, source = None, Path("-")

    from reelsense.cli.files import score_file
    from reelsense.errors import InputError, TextError
    from reelsense.inference.classifier import Classifier

    classifier = Classifier.load(model)
    if source is not None:
        score_file(classifier, source, output, column)
    elif text is not None:
        try:
            answer = classifier.predict([text])[0]
        except TextError as error:
            raise InputError(f"the text {error.reason}") from error
        # Rounds towards doubt: nothing short of certainty is shown as 100 %.
        click.echo(f"{answer.label}  {math.floor(answer.score * 1000) / 10:.1f}%")


@click.command()
@click.option("--host", envvar="HOST", default="127.0.0.1", show_default=True, show_envvar=True)
@click.option(
    "--port",
    envvar="PORT",
    type=click.IntRange(0, 65535),
    default=5000,
    show_default=True,
    show_envvar=True,
)
@options.model
def serve(host: str, port: int, model: Path | None) -> None:
    """Answer over HTTP: a page at /, JSON at /v1/predict."""
    from reelsense.server.run import run

    run(host, port, model)


@click.command()
@options.labelled_data
@click.option(
    "--split",
    type=click.Choice(["train", "held-out", "test", "all"]),
    help="By default the dataset's test part, or the whole of a table.",
)
@click.option("--json", "json_file", type=options.PATH, help="Write the figures there as well.")
@options.model
def evaluate(
    data: Path,
    text_column: str,
    label_column: str,
    split: str | None,
    json_file: Path | None,
    model: Path | None,
) -> None:
    """Measure a model on labelled reviews."""
    from reelsense.datasets.sources import Source
    from reelsense.evaluation.evaluate import as_text
    from reelsense.evaluation.evaluate import evaluate as measure
    from reelsense.files import write_atomically
    from reelsense.inference.classifier import Classifier

    source = Source(data, text_column, label_column)
    part = split or source.usual_part
    if json_file and not json_file.absolute().parent.is_dir():
        raise click.UsageError(f"--json {json_file}: there is no such folder")
    classifier = Classifier.load(model)
    metrics = measure(classifier, source.part(part))
    name, version = classifier.manifest.name, classifier.manifest.version
    click.echo(f"{name} {version} on {data} ({part})\n\n{as_text(metrics)}")
    if json_file:
        figures = {"model": {"name": name, "version": version}, "split": part, **asdict(metrics)}
        write_atomically(json_file, json.dumps(figures, indent=2) + "\n")
