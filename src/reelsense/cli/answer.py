"""The commands that answer with a model: predict, explain."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import click

from reelsense.cli import options
from reelsense.errors import InputError, TextError
from reelsense.prediction import UNSURE
from reelsense.text.clean import LONE_SURROGATE

if TYPE_CHECKING:
    from reelsense.bundle import Bundle, Manifest
    from reelsense.inference.classifier import Classifier
    from reelsense.prediction import Explanation


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
            is_scored = score_on_cluster(_read(model, risk), request, address, cores)
        else:
            is_scored = score_files(_load(model, risk), request)
        sys.exit(not is_scored)
    if cluster or encoding or kind or column is not None:
        raise click.UsageError("--column, --encoding, --format and --cluster go with --input")
    _say(_load(model, risk), text or "", risk, explained=explained)


def _say(classifier: Classifier, text: str, risk: float | None, *, explained: bool) -> None:
    if explained:
        _show(text, _explanation(classifier, text, risk, None))
        return
    from reelsense.cli.prediction_text import said

    with _about_one_text():
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


@click.command(short_help="Say which sentences and words carry the answer.")
@click.argument("text")
@click.option("--json", "as_json", is_flag=True, help="Print all of it as JSON.")
@click.option(
    "--budget",
    type=int,
    help="How many windows of the text may be read for it, 16 at least; by default 200. More make "
    "the parts of long texts finer and the sets that turn the label smaller.",
)
@click.option("--risk", type=float, help="The share of wrong answers you accept, as 0.02.")
@options.model
def explain(
    text: str, as_json: bool, budget: int | None, risk: float | None, model: str | None
) -> None:
    """Say which sentences and words of TEXT carry its answer ("-": standard input).

    Each is weighed by taking it out and reading what is left.
    """
    if text == "-":
        text = sys.stdin.buffer.read().decode("utf-8-sig", errors="replace")
    text = LONE_SURROGATE.sub("\ufffd", text)  # an argument that is no UTF-8
    found = _explanation(_load(model, risk), text, risk, budget)
    if as_json:
        from reelsense.bulk.rows import as_dict

        click.echo(json.dumps(as_dict(text, found), indent=2))
    else:
        _show(text, found)


def _load(model: str | None, risk: float | None) -> Classifier:
    from reelsense.inference.classifier import Classifier

    classifier = Classifier.load(model)
    _warn_if_out_of_reach(classifier.manifest, risk)
    return classifier


def _read(model: str | None, risk: float | None) -> Bundle:
    from reelsense import bundle as bundles
    from reelsense import registry

    bundle = bundles.read(registry.find(model))
    _warn_if_out_of_reach(bundle.manifest, risk)
    return bundle


def _warn_if_out_of_reach(manifest: Manifest, risk: float | None) -> None:
    from reelsense.inference.calibration import decision_thresholds

    thresholds = decision_thresholds(manifest, risk)
    missing = [
        group.name
        for group, threshold in zip(manifest.groups, thresholds, strict=True)
        if threshold is None
    ]
    if missing:
        named = "the model's risk" if risk is None else f"a risk of {risk:.2%}"
        where = "" if len(missing) == len(thresholds) else f" in length group {', '.join(missing)}"
        click.echo(f"no threshold keeps to {named}: every verdict{where} is {UNSURE}", err=True)


def _explanation(
    classifier: Classifier, text: str, risk: float | None, budget: int | None
) -> Explanation:
    from reelsense.inference.explain import BUDGET

    with _about_one_text():
        return classifier.explain(text, risk=risk, budget=BUDGET if budget is None else budget)


@contextmanager
def _about_one_text() -> Iterator[None]:
    """Let an error speak of the text, not of text 0."""
    try:
        yield
    except TextError as error:
        raise InputError(f"the text {error.reason}") from error


def _show(text: str, found: Explanation) -> None:
    from reelsense.cli.explanation_text import as_text

    # https://no-color.org; click itself leaves colours out where there is no terminal.
    click.echo(as_text(text, found), color=False if os.environ.get("NO_COLOR") else None)
