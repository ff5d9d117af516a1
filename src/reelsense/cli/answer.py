"""The command that answers with a model: predict."""

from __future__ import annotations

import math
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
@click.option(
    "--risk",
    type=float,
    help="The share of wrong answers you accept, as 0.02; what is less sure becomes unsure. "
    "By default the model's.",
)
@options.model
def predict(
    text: str | None,
    source: Path | None,
    output: Path | None,
    column: str,
    risk: float | None,
    model: Path | None,
) -> None:
    """Say whether a text is positive or negative, or that the model is unsure.

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
    from reelsense.inference.calibration import least_score
    from reelsense.inference.classifier import Classifier
    from reelsense.prediction import UNSURE

    classifier = Classifier.load(model)
    if least_score(classifier.manifest, risk) is None:
        click.echo(
            f"no threshold keeps to a risk of {risk:.2%}: every verdict is {UNSURE}", err=True
        )
    if source is not None:
        score_file(classifier, source, output, column, risk)
    elif text is not None:
        try:
            answer = classifier.predict([text], risk=risk)[0]
        except TextError as error:
            raise InputError(f"the text {error.reason}") from error
        # Rounds towards doubt: nothing short of certainty is shown as 100 %.
        sureness = f"{math.floor(answer.score * 1000) / 10:.1f}%"
        verdict = f"{answer.label}  {sureness}"
        if answer.verdict == UNSURE:
            verdict = f"{UNSURE}  ({answer.label} {sureness})"
        click.echo(
            verdict if answer.stars is None else f"{verdict}  {answer.stars:.1f} of 10 stars"
        )
