"""The command `reelsense predict`."""

from __future__ import annotations

import sys
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from reelsense.cli import options, table_options
from reelsense.cli.explain import errors_of_one_text, explain_text, print_explanation
from reelsense.cli.options import require, warn_if_unreachable

if TYPE_CHECKING:
    from reelsense.inference.classifier import Classifier


@click.command(cls=options.TextCommand, short_help="Classify a text, or every text of a file.")
@click.argument("text", required=False)
@click.option(
    "--input",
    "inputs",
    multiple=True,
    help="A .csv, .tsv, .jsonl, .json or .txt file (one text per line), each also as .gz, an "
    ".xlsx or .parquet file; "
    "a folder or a quoted pattern of such files; a URL such as s3://...; or - for standard input, "
    "one text per line.",
)
@click.option(
    "--output",
    help="A file, whose name determines the format, or a folder (name ends with /) for one file "
    "per shard. Default: standard output. Run the same command again to resume after an "
    "interruption.",
)
@click.option(
    "--column",
    help="Text column of a table: its name, its number (from 1), or a path such as review.text "
    "into nested JSON. Default: the only column, or one with a usual name such as text or review.",
)
@table_options.read_options
@click.option(
    "--format",
    "output_format",
    help="Format of a folder or of standard output, for example jsonl.gz. Default: that of the "
    "input.",
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
    help="Add the sentences and words that contribute most to each prediction; about 20 times "
    "slower.",
)
@click.option(
    "--cluster",
    type=click.Choice(["ray"]),
    help="Score files on a Ray cluster (needs the extra ray).",
)
@options.address
@click.option(
    "--cores-per-actor",
    "cores",
    type=click.IntRange(1),
    help="With --cluster: cores per classifier. Default: 4, or fewer if the smallest machine has "
    "fewer.",
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
    """Classify TEXT, or every text of the files in --input.

    Prints the verdict (a label or unsure) and its probability. If TEXT is -, every line of standard
    input is a text.
    """
    source = _source(text, inputs)
    _check_options(source, inputs, cluster, address, cores, scoring)
    if source is None:
        _predict_text(text or "", model, scoring["risk"], explain=scoring["explain"])
        return
    from reelsense.bulk.locations import check_locations
    from reelsense.cli.predict_files import predict_files

    check_locations(source, scoring["output"], scoring["output_format"])
    if cluster:
        from reelsense import registry
        from reelsense.bundle import read_bundle
        from reelsense.cluster.score_files import RayExecutor

        bundle = read_bundle(registry.find(model))
        warn_if_unreachable(bundle.manifest, scoring["risk"])
        scoring["executor"] = RayExecutor(bundle, address, cores)
    else:
        scoring["model"] = _load(model, scoring["risk"])
    sys.exit(not predict_files(source, **scoring))


def _load(model: str | None, risk: float | None) -> Classifier:
    from reelsense.inference.classifier import Classifier

    classifier = Classifier.load(model)
    warn_if_unreachable(classifier.manifest, risk)
    return classifier


def _predict_text(text: str, model: str | None, risk: float | None, *, explain: bool) -> None:
    classifier = _load(model, risk)
    if explain:
        print_explanation(text, explain_text(classifier, text, risk))
        return
    from reelsense.cli.rendering import as_line

    with errors_of_one_text():
        click.echo(as_line(classifier.predict([text], risk=risk)[0]))


def _source(text: str | None, inputs: tuple[str, ...]) -> str | None:
    """Return the input to score; None: only TEXT."""
    require(text is None or not inputs, "pass either TEXT or --input, not both")
    require(text is not None or inputs, 'pass TEXT (in quotes; "-": standard input) or --input')
    require(
        len(inputs) < 2,
        "--input can be given once: pass a folder or a quoted pattern for several files",
    )
    if text is None:
        return inputs[0]
    require(
        not _is_file(text), f"{text} is a file: use --input {quote(text)} to score its contents"
    )
    return "-" if text == "-" else None


def _check_options(
    source: str | None,
    inputs: tuple[str, ...],
    cluster: str | None,
    address: str | None,
    cores: int | None,
    scoring: dict[str, Any],
) -> None:
    output, column = scoring["output"], scoring["column"]
    require(
        output is None or inputs, "--output requires --input: the prediction for TEXT is printed"
    )
    require(output != "-", "omit --output to write to standard output")
    require(
        column is None or source != "-" or scoring["input_format"],
        "standard input (-) has one text per line: for a table, add --input-format, such as csv",
    )
    require(
        cluster or not (address or cores), "--address and --cores-per-actor require --cluster ray"
    )
    names = ("encoding", "output_format", "input_format", "delimiter", "quoting", "sheet")
    for_files = (cluster, column, not scoring["header"] or None, *map(scoring.get, names))
    require(
        source is not None or not any(value is not None for value in for_files),
        "options for files require --input, for example --input reviews.csv",
    )


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except OSError:  # too long for a file name
        return False
