"""Score files for `reelsense predict --input`: show a progress bar and a summary on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from reelsense.bulk.score_files import ScoringSummary, score_files
from reelsense.cli.progress import ProgressBar


def predict_files(inputs: str, output: str | None, **options: Any) -> bool:
    """Score files and print a summary.

    Args:
        inputs: As for `score_files`.
        output: A file or a folder; None: standard output.
        options: Further arguments of `score_files`.

    Returns:
        Whether any row could be scored, or there were no rows.
    """
    with ProgressBar() as progress, _printed_notes():
        target = sys.stdout.buffer if output is None else output
        summary = score_files(inputs, target, on_progress=progress, **options)
    if summary.ignored:
        more = f" and {len(summary.ignored) - 5:,} more" if len(summary.ignored) > 5 else ""
        _print(f"not a table, left out: {', '.join(summary.ignored[:5])}{more}")
    if summary.resumed_shards:
        shards = f"{summary.resumed_shards:,} shard{'s' * (summary.resumed_shards > 1)}"
        _print(f"resumed: {shards} ({summary.resumed_rows:,} rows) were already scored")
    if output is not None:
        _print(f"{output}: {progress}")
    _print_errors(summary)
    return not summary.is_failure


def _print_errors(summary: ScoringSummary) -> None:
    if not summary.rows:
        _print(f"{', '.join(summary.inputs[:5])}: no rows")
    if summary.bad_rows:
        count = "no row" if summary.is_failure else _rows(summary.bad_rows)
        verb = "could" if summary.is_failure else "could not"
        where = f" and {summary.bad_rows_output}" if summary.bad_rows_output else ""
        _print(f"{count} {verb} be scored: see the column error{where}")
    if summary.undecoded_rows:
        verb = "is" if summary.undecoded_rows == 1 else "are"
        _print(
            f"{_rows(summary.undecoded_rows)} {verb} not UTF-8: name the encoding of the file, for "
            "example --encoding windows-1252"
        )


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"


def _print(message: str) -> None:
    click.echo(message, err=True)


@contextmanager
def _printed_notes() -> Iterator[None]:
    """Print the notes of an error, which say how to resume."""
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        for note in getattr(error, "__notes__", ()):
            _print(note)
        raise
