"""The command `reelsense explain`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from reelsense.cli import options
from reelsense.errors import InputError, TextError
from reelsense.text.clean import LONE_SURROGATE

if TYPE_CHECKING:
    from reelsense.inference.classifier import Classifier
    from reelsense.prediction import Explanation
from reelsense.cli.model_loading import load_classifier


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
    found = explanation_of(load_classifier(model, risk), text, risk, budget)
    if as_json:
        from reelsense.bulk.rows import as_dict

        click.echo(json.dumps(as_dict(text, found), indent=2))
    else:
        show_explanation(text, found)


def explanation_of(
    classifier: Classifier, text: str, risk: float | None, budget: int | None
) -> Explanation:
    """Return the explanation of `text`, within `budget` windows or the default."""
    from reelsense.inference.explain import BUDGET

    with about_one_text():
        return classifier.explain(text, risk=risk, budget=BUDGET if budget is None else budget)


@contextmanager
def about_one_text() -> Iterator[None]:
    """Let an error speak of the text, not of text 0."""
    try:
        yield
    except TextError as error:
        raise InputError(f"the text {error.reason}") from error


def show_explanation(text: str, found: Explanation) -> None:
    """Print `found` for people."""
    from reelsense.cli.explanation_text import as_text

    # https://no-color.org; click itself leaves colours out where there is no terminal.
    click.echo(as_text(text, found), color=False if os.environ.get("NO_COLOR") else None)
