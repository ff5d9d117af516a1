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


@click.command(
    cls=options.TextCommand,
    short_help="Show which sentences and words contribute most to a prediction.",
)
@click.argument("text")
@click.option("--json", "as_json", is_flag=True, help="Print the whole explanation as JSON.")
@click.option(
    "--budget",
    type=int,
    help="Maximum number of forward passes, at least 16. Default: 200. More passes resolve long "
    "texts more finely and find smaller counterfactuals.",
)
@click.option(
    "--aspects",
    is_flag=True,
    help="Also show the clauses that judge an aspect of the film, such as the acting, each with "
    "its own verdict.",
)
@options.risk
@options.model
def explain(
    text: str,
    as_json: bool,
    budget: int | None,
    aspects: bool,
    risk: float | None,
    model: str | None,
) -> None:
    """Show which sentences and words of TEXT contribute most to its prediction.

    The weight of a part is the change of the log-odds when it is removed. If TEXT is -, all of
    standard input is one text.
    """
    from reelsense.inference.classifier import Classifier

    if text == "-":
        text = sys.stdin.buffer.read().decode("utf-8-sig", errors="replace")
    text = LONE_SURROGATE.sub("\ufffd", text)  # from arguments that are not UTF-8
    classifier = Classifier.load(model)
    options.warn_if_unreachable(classifier.manifest, risk)
    explanation = explain_text(classifier, text, risk, budget, aspects=aspects)
    if as_json:
        from reelsense.bulk.rows import as_dict

        click.echo(json.dumps(as_dict(text, explanation), indent=2))
    else:
        print_explanation(text, explanation)


def explain_text(
    classifier: Classifier,
    text: str,
    risk: float | None,
    budget: int | None = None,
    *,
    aspects: bool = False,
) -> Explanation:
    """Return the explanation of `text`, within `budget` forward passes or the default."""
    from reelsense.inference.explain import BUDGET

    with errors_of_one_text():
        return classifier.explain(
            text, risk=risk, budget=BUDGET if budget is None else budget, aspects=aspects
        )


@contextmanager
def errors_of_one_text() -> Iterator[None]:
    """Rephrase errors about "text 0" as errors about "the text"."""
    try:
        yield
    except TextError as error:
        raise InputError(f"the text {error.reason}", code=error.code) from error


def print_explanation(text: str, explanation: Explanation) -> None:
    """Print an explanation of `text`, in colour if standard output is a terminal."""
    from reelsense.cli.rendering import as_text

    # https://no-color.org; click itself omits colours if there is no terminal.
    click.echo(as_text(text, explanation), color=False if os.environ.get("NO_COLOR") else None)
