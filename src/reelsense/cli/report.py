"""The command `reelsense report`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reelsense.cli import options, table_options
from reelsense.cli.output import json_output, table, write_result
from reelsense.files import write_atomically
from reelsense.text.clean import printable

if TYPE_CHECKING:
    from reelsense.inference.classifier import Classifier
    from reelsense.summary.results import Summary
    from reelsense.tables.reading import ReadOptions

_MAX_GROUPS = 10  # that are printed


@click.command(short_help="Summarize a file: groups, trend, aspects and findings.")
@click.argument("file")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the report to this file: .html, or .csv for the groups.",
)
@json_output
@click.option("--group-column", help="Column to group by. Default: a suitable one.")
@click.option(
    "--column",
    help="Text column: its name, its number (from 1), or a path such as review.text into nested "
    "JSON. Default: the only column, or one with a usual name such as text or review.",
)
@click.option(
    "--no-aspects",
    "aspects",
    flag_value=False,
    default=True,
    help="Skip the aspects, which need the model even if the file is scored.",
)
@table_options.reading
@options.risk
@options.model
def report(
    file: str,
    output: Path | None,
    json_file: Path | None,
    group_column: str | None,
    column: str | None,
    aspects: bool,
    reading: Callable[[str], ReadOptions],
    risk: float | None,
    model: str | None,
) -> None:
    """Summarize FILE, the output of `reelsense predict --input` or any other table of texts.

    A file without predictions is scored first. Prints the findings and the largest groups.
    """
    options.require(
        output is None or output.suffix in (".html", ".csv"),
        f"--output {output} should end with .html or .csv",
    )
    from tqdm import tqdm

    from reelsense.summary.files import summarize_file

    @cache
    def load() -> Classifier:
        from reelsense.inference.classifier import Classifier

        classifier = Classifier.load(model)
        options.warn_if_unreachable(classifier.manifest, risk)
        return classifier

    with tqdm(disable=None, unit=" rows", leave=False) as bar:
        result = summarize_file(
            file,
            load,
            options=reading(file),
            column=column,
            risk=risk,
            group_column=group_column,
            aspects=aspects,
            on_rows=lambda rows: bar.update(rows - bar.n),
        )
    if output:
        scored_by = "" if result.was_scored else f"{load().manifest.name} {load().manifest.version}"
        name = printable(Path(file).name)
        write_atomically(output, _content(result.summary, output, name, scored_by))
    lines = _lines(result.summary)
    write_result(json_file, asdict(result.summary), *lines, *([f"{output}"] if output else []))


def _content(summary: Summary, output: Path, name: str, model: str) -> str:
    if output.suffix == ".csv":
        from reelsense.summary.export import to_csv

        return to_csv(summary)
    from reelsense.summary.page import Source, render_report

    return render_report(summary, Source(name, model))


def _lines(summary: Summary) -> list[str]:
    """Return the findings and the largest groups."""
    from reelsense.summary.findings import group_name, percent, range_of

    rows = [["", "rows", f"share of {summary.label}", "coverage", "stars"]]
    for group in summary.groups[:_MAX_GROUPS]:
        share, coverage = group.shares[summary.label], group.coverage
        rows.append(
            [
                " ".join(group_name(group).split())[:40],
                f"{group.rows:,}",
                f"{percent(share.value)} ({range_of(share)})" if share.total else "",
                percent(coverage.value) if coverage.total else "",
                f"{group.stars.value:.1f}" if group.stars else "",
            ]
        )
    rows[0][0] = summary.group_column or ""
    more = len(summary.groups) - _MAX_GROUPS
    return [
        *summary.findings,
        *(["", *table(rows)] if summary.groups else []),
        *([f"and {more:,} more groups"] if more > 0 else []),
    ]
