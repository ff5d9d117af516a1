"""The command `reelsense predict`."""

from __future__ import annotations

import sys
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from reelsense.cli import options
from reelsense.cli.explain import errors_of_one_text, explain_text, print_explanation
from reelsense.cli.model_loading import load_classifier, read_bundle

if TYPE_CHECKING:
    from reelsense.inference.classifier import Classifier


@click.command(short_help="Classify a text, or every text of a file.")
@click.argument("text", required=False)
@click.option(
    "--input",
    "inputs",
    multiple=True,
    help="A .csv, .tsv, .jsonl or .txt file (one review per line), each also as .gz, or .parquet; "
    "a folder or a quoted pattern of such files; a URL such as s3://...; - reads lines of text.",
)
@click.option(
    "--output",
    help="A file, whose name determines the format, or a folder/ for one file per shard; by "
    "default standard output. Run the same command again to resume after an interruption.",
)
@click.option("--column", help='Text column of a table; by default the only column, or "text".')
@click.option(
    "--encoding", help="Encoding of text files, for example windows-1252; by default UTF-8."
)
@click.option(
    "--format",
    "output_format",
    help="Format of a folder/ or of standard output, for example jsonl.gz.",
)
@click.option(
    "--shard-rows",
    type=click.IntRange(1),
    default=2048,
    show_default=True,
    help="Rows that are scored and stored together: an interruption costs at most one shard.",
)
@options.risk
@click.option(
    "--explain",
    is_flag=True,
    help="Add the sentences that carry each prediction; about 20 times slower.",
)
@click.option(
    "--cluster",
    type=click.Choice(["ray"]),
    help="Score files on a Ray cluster: the one at --address, or a local one.",
)
@click.option("--address", help="HOST:PORT of the cluster's head node; auto on one of its nodes.")
@click.option(
    "--cores-per-actor",
    "cores",
    type=click.IntRange(1),
    help="Cores per classifier on the cluster; by default 4, or those of the smallest machine.",
)
@options.model
def predict(
    text: str | None,
    inputs: tuple[str, ...],
    cluster: str | None,
    address: str | None,
    cores: int | None,
    model: str | None,
    **scoring: Any,
) -> None:
    """Classify TEXT, or every text of the files --input, as positive, negative or unsure.

    TEXT may be - for lines of standard input.
    """
    source = _source(text, inputs)
    _check_options(source, inputs, cluster, address, cores, scoring)
    if source is None:
        classifier = load_classifier(model, scoring["risk"])
        _predict_text(classifier, text or "", scoring["risk"], explain=scoring["explain"])
        return
    from reelsense.bulk.score_files import check_locations
    from reelsense.cli.predict_files import predict_files

    check_locations(source, scoring["output"], scoring["output_format"])
    if cluster:
        from reelsense.cluster.score_files import RayExecutor

        scoring["executor"] = RayExecutor(read_bundle(model, scoring["risk"]), address, cores)
    else:
        scoring["model"] = load_classifier(model, scoring["risk"])
    sys.exit(not predict_files(source, **scoring))


def _predict_text(classifier: Classifier, text: str, risk: float | None, *, explain: bool) -> None:
    if explain:
        print_explanation(text, explain_text(classifier, text, risk, None))
        return
    from reelsense.cli.prediction_text import as_line

    with errors_of_one_text():
        click.echo(as_line(classifier.predict([text], risk=risk)[0]))


def _source(text: str | None, inputs: tuple[str, ...]) -> str | None:
    """Return the input to score; None: only TEXT."""
    if (text is None) == (not inputs):
        raise click.UsageError(
            "pass either TEXT or --input, not both"
            if inputs
            else 'pass TEXT (in quotes; "-" for standard input) or --input'
        )
    if len(inputs) > 1:
        raise click.UsageError(
            "--input can be given once: pass a folder or a quoted pattern for several files"
        )
    if text is not None and _is_file(text):
        raise click.UsageError(f"{text} is a file: use --input {quote(text)} to score its contents")
    return "-" if text == "-" else next(iter(inputs), None)


def _check_options(
    source: str | None,
    inputs: tuple[str, ...],
    cluster: str | None,
    address: str | None,
    cores: int | None,
    scoring: dict[str, Any],
) -> None:
    if scoring["output"] is not None and not inputs:
        raise click.UsageError("--output needs --input: the prediction for one TEXT is printed")
    if scoring["output"] == "-":
        raise click.UsageError("leave out --output to write to standard output")
    if scoring["column"] is not None and source == "-":
        raise click.UsageError("--column cannot be used with -, which reads lines of text")
    if (address or cores) and not cluster:
        raise click.UsageError("--address and --cores-per-actor need --cluster ray")
    of_files = (cluster, scoring["encoding"], scoring["output_format"], scoring["column"])
    if source is None and any(value is not None for value in of_files):
        raise click.UsageError("--column, --encoding, --format and --cluster need --input")


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except OSError:  # too long for a file name
        return False
