"""The command `reelsense predict`."""

from __future__ import annotations

import sys
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import click

from reelsense.cli import options

if TYPE_CHECKING:
    from reelsense.inference.classifier import Classifier
from reelsense.cli.explain import about_one_text, explanation_of, show_explanation
from reelsense.cli.model_loading import load_classifier, read_bundle


@click.command(short_help="Say whether a text, or each of a file, is positive.")
@click.argument("text", required=False)
@click.option(
    "--input",
    "sources",
    multiple=True,
    help="A .txt (one review a line), .csv, .tsv, .jsonl (each also .gz) or .parquet; a folder or, "
    "in quotes, a pattern of them; an address as s3://...; - reads lines of text.",
)
@click.option(
    "--output",
    help="A file, by whose name the format goes, or a folder/ for many; by default to the "
    "terminal. Cut off, the same command goes on.",
)
@click.option("--column", help="Of the texts in a table; by default the only one, or text.")
@click.option("--encoding", help="Of text in files, as windows-1252 or utf-16; by default UTF-8.")
@click.option(
    "--format", "kind", help="Of what is written to a folder/ or the terminal, as jsonl.gz."
)
@click.option(
    "--shard-rows",
    type=click.IntRange(1),
    default=2048,
    show_default=True,
    help="Rows that are scored and kept together: the most that is scored twice.",
)
@click.option(
    "--risk",
    type=float,
    help="The share of wrong answers you accept, as 0.02; what is less sure becomes unsure. "
    "By default the model's.",
)
@click.option(
    "--explain",
    "explained",
    is_flag=True,
    help="Say of every text what carries its answer, too: some 20 times slower.",
)
@click.option(
    "--cluster",
    type=click.Choice(["ray"]),
    help="Score files on many machines: the Ray cluster at --address, or this machine alone.",
)
@click.option("--address", help="HOST:PORT of the cluster's head, or auto on a machine of it.")
@click.option(
    "--cores-per-actor",
    "cores",
    type=click.IntRange(1),
    help="Of each classifier on the cluster; by default 4, or what the smallest machine has.",
)
@options.model
def predict(
    text: str | None,
    sources: tuple[str, ...],
    output: str | None,
    column: str | None,
    encoding: str | None,
    kind: str | None,
    shard_rows: int,
    risk: float | None,
    explained: bool,
    cluster: str | None,
    address: str | None,
    cores: int | None,
    model: str | None,
) -> None:
    """Say whether a text is positive or negative, or that the model is unsure.

    Scores TEXT, or every text of the files --input.
    """
    source = _source(text, sources)
    if output is not None and not sources:
        raise click.UsageError("--output goes with --input: the answer for one TEXT is printed")
    if output == "-":
        raise click.UsageError("leave --output out to write to the terminal")
    if column is not None and source == "-":
        raise click.UsageError("- is read as lines of text: --column means nothing there")
    if (address or cores) and not cluster:
        raise click.UsageError("--address and --cores-per-actor go with --cluster ray")
    if source is not None:
        from reelsense.cli.files import Request, check, score_files, score_on_cluster

        request = Request(
            source=source,
            output=output,
            column=column,
            encoding=encoding,
            risk=risk,
            explain=explained,
            shard_rows=shard_rows,
            format=kind,
        )
        check(request)
        if cluster:
            is_scored = score_on_cluster(read_bundle(model, risk), request, address, cores)
        else:
            is_scored = score_files(load_classifier(model, risk), request)
        sys.exit(not is_scored)
    if cluster or encoding or kind or column is not None:
        raise click.UsageError("--column, --encoding, --format and --cluster go with --input")
    _say(load_classifier(model, risk), text or "", risk, explained=explained)


def _say(classifier: Classifier, text: str, risk: float | None, *, explained: bool) -> None:
    if explained:
        show_explanation(text, explanation_of(classifier, text, risk, None))
        return
    from reelsense.cli.prediction_text import said

    with about_one_text():
        click.echo(said(classifier.predict([text], risk=risk)[0]))


def _source(text: str | None, sources: tuple[str, ...]) -> str | None:
    """Return what is to be read; None: TEXT is all there is."""
    if (text is None) == (not sources):
        raise click.UsageError(
            "pass either TEXT or --input, not both"
            if sources
            else 'pass TEXT (in quotes; "-" for standard input) or --input'
        )
    if len(sources) > 1:
        raise click.UsageError(
            "pass --input once: a folder or, in quotes, a pattern for many files"
        )
    if text is not None and _is_file(text):
        raise click.UsageError(f"{text} is a file: to score what is in it, --input {quote(text)}")
    return "-" if text == "-" else next(iter(sources), None)


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except OSError:  # too long for a name
        return False
