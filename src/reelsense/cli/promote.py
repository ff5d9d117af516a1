"""The command `reelsense models promote`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

import click

from reelsense.cli import options, table_options
from reelsense.cli.output import json_output, table, write_result
from reelsense.errors import InputError, ModelDirectoryError
from reelsense.text.controls import escape_controls

if TYPE_CHECKING:
    from reelsense.bundle import Bundle
    from reelsense.datasets.labelled import LabelledData
    from reelsense.datasets.reviews import Review
    from reelsense.evaluation.gate import Change, Check
    from reelsense.model_directory import ModelDirectory

_HEADER = ("CHECK", "TEXTS", "CHAMPION", "CHALLENGER", "DIFFERENCE (95 %)", "P", "OUTCOME")
_MAX_TEXT = 100  # characters of an example


def _margin(name: str, default: float, what: str) -> Callable[..., Any]:
    return click.option(
        name,
        type=click.FloatRange(0, 1, max_open=True),
        default=default,
        show_default=True,
        help=f"Tolerated decrease of {what}.",
    )


@click.command()
@click.argument("version", default="challenger")
@options.models_directory
@table_options.labelled_sets
@click.option(
    "--feedback",
    type=options.PATH,
    help="Table of feedback (text, label), such as a file of `reelsense feedback export`. Only the "
    "held-out share is used.",
)
@_margin("--margin", 0.01, "the share of correct labels, and of verdicts that are not wrong")
@_margin("--coverage-margin", 0.05, "the share of verdicts other than unsure")
@_margin("--robustness-margin", 0.02, "each share of the robustness rows")
@click.option(
    "--strict", is_flag=True, help="Also reject if a comparison has too few texts to be conclusive."
)
@click.option("--force", is_flag=True, help="Promote in spite of regressions. This is recorded.")
@json_output
def promote(
    directory: ModelDirectory,
    version: str,
    sources: Sequence[LabelledData],
    feedback: Path | None,
    margin: float,
    coverage_margin: float,
    robustness_margin: float,
    strict: bool,
    force: bool,
    json_file: Path | None,
) -> None:
    """Compare a version with the champion, and make it the champion unless it is worse.

    VERSION is a version or an alias. Default: challenger. Both models are compared on the labelled
    texts that neither was trained on, and on generated sentences for negation, identity terms and
    other behaviours. A regression is a significant decrease (McNemar's test, p < 0.05) by more than
    a margin. The first champion is not compared.
    """
    from reelsense.evaluation.gate import Gate, Margins
    from reelsense.inference.classifier import Classifier
    from reelsense.model_directory import CHAMPION

    version, champion = directory.find(version), directory.aliases().get(CHAMPION)
    if version == champion:
        raise ModelDirectoryError(
            f"version {version} is the champion of {directory.path} already", code="is-champion"
        )
    challenger = directory.read(version)
    checks: list[Check] = []
    if champion and (sources or feedback):
        bundles = (directory.read(champion), challenger)
        sets = _labelled_sets(bundles, sources, feedback)
        margins = Margins(margin, coverage_margin, robustness_margin)
        checks = Gate(Classifier(bundles[0]), Classifier(bundles[1]), margins).check(sets)
    elif champion:
        options.require(force, "pass labelled texts as --data or --feedback, or --force")
    rejecting = {"regressed", "inconclusive"} if strict else {"regressed"}
    reasons = [check for check in checks if check.outcome in rejecting]
    accepted = force or not reasons
    names = [check.name for check in reasons]
    details = {"forced": force, "rejected_by": names}
    figures = [check.figures() for check in checks]
    directory.promote(version, champion, details | {"checks": figures}, accepted=accepted)
    result = {"accepted": accepted, "champion": champion, "version": version} | details
    summary = f"champion: {version}" if accepted else f"rejected: {version}"
    if force and reasons:
        summary += " (forced)"
    write_result(
        json_file, result | {"checks": [c.content() for c in checks]}, *_report(checks), summary
    )
    if not accepted:
        raise ModelDirectoryError(
            f"version {version} was not promoted because of {', '.join(names)}: "
            "train another version, or promote this one with --force",
            code="regression" if any(c.outcome == "regressed" for c in reasons) else "inconclusive",
        )


def _labelled_sets(
    bundles: Sequence[Bundle], sources: Sequence[LabelledData], feedback: Path | None
) -> list[tuple[str, list[Review]]]:
    """Return names and reviews of the sets that the models of `bundles` are compared on."""
    from reelsense.datasets.feedback import HELD_OUT_SHARE, read_feedback
    from reelsense.evaluation.unseen import unseen_reviews

    sets = [
        (source.name, source.part("validation" if source.is_imdb else "all")) for source in sources
    ]
    if feedback:
        problem = (
            f"{feedback} has no held-out text: expected about {HELD_OUT_SHARE:.0%} of its texts"
        )
        if held_out := read_feedback(feedback, _warn).held_out:
            sets.append(("held-out feedback", held_out))
        elif sources:
            _warn(f"{problem}; models are not compared on it")
        else:
            raise InputError(
                f"{problem}; collect more feedback, or pass labelled texts as --data",
                code="no-unseen-texts",
            )
    return [
        (name, unseen_reviews(bundles, name, reviews, on_message=_warn)) for name, reviews in sets
    ]


def _warn(message: str) -> None:
    click.echo(escape_controls(message), err=True)


def _report(checks: Sequence[Check]) -> Iterator[str]:
    """Yield a table of the checks, then examples of the texts on which the models differ."""
    if not checks:
        return
    rows = [_HEADER]
    for check in checks:
        champion, challenger = f"{check.champion:.1%}", f"{check.challenger:.1%}"
        difference = f"{check.difference:+.1%} ({check.low:+.1%} to {check.high:+.1%})"
        figures = (champion, challenger, difference, f"{check.p_value:.3f}", check.outcome)
        rows.append((check.name, f"{check.texts:,}", *figures))
    yield from table(rows)
    for check in checks:
        if check.improvements or check.regressions:
            yield ""
            yield f"{check.name}: {check.improvements} better, {check.regressions} worse"
            for title, changes in (("better", check.improved), ("worse", check.regressed)):
                yield from (_example(title, change) for change in changes)


def _example(title: str, change: Change) -> str:
    text = shorten(change.text, _MAX_TEXT, placeholder=" ...")
    return f"  {title}: {change.champion} -> {change.challenger}: {text}"
