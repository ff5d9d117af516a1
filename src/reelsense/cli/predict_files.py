"""Score files for `reelsense predict --input`: show a progress bar and a summary on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from tqdm import tqdm

from reelsense.bulk.progress import ScoringProgress, ScoringSummary
from reelsense.bulk.score_files import score_files
from reelsense.text.controls import escape_controls


def predict_files(inputs: str, output: str | None, **options: Any) -> bool:
    """Score files as `score_files` does, and print a summary; None: write to standard output.

    Returns whether any row could be scored, or there were no rows.
    """
    with ProgressBar() as progress, _printed_notes():
        target = sys.stdout.buffer if output is None else output
        summary = score_files(inputs, target, on_progress=progress, on_message=_print, **options)
    if summary.ignored:
        more = f" and {len(summary.ignored) - 5:,} more" if len(summary.ignored) > 5 else ""
        _print(f"skipped (not a table): {', '.join(summary.ignored[:5])}{more}")
    if summary.resumed_shards:
        shards = f"{summary.resumed_shards:,} shard{'s' * (summary.resumed_shards > 1)}"
        _print(f"resumed: {shards} ({_rows(summary.resumed_rows)}) already scored")
    if output is not None:
        _print(f"{output}: {progress}")
    _print_errors(summary)
    return not summary.is_failure


def _print_errors(summary: ScoringSummary) -> None:
    if not summary.rows:
        _print(f"{', '.join(summary.inputs[:5])}: no rows")
    if summary.bad_rows:
        where = f" and {summary.bad_rows_output}" if summary.bad_rows_output else ""
        count = "no row could" if summary.is_failure else f"{_rows(summary.bad_rows)} could not"
        _print(f"{count} be scored: see the column error{where}")
    if summary.undecoded_rows:
        verb = "is" if summary.undecoded_rows == 1 else "are"
        _print(
            f"{_rows(summary.undecoded_rows)} {verb} not UTF-8: pass the encoding, for example "
            "--encoding windows-1252"
        )


class ProgressBar:
    """Shows progress in input bytes, or in rows if the input size is unknown.

    `str()` returns rows, speed and duration.
    """

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None
        self._rows = 0
        self._started = time.monotonic()

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()  # stays on the screen

    def __call__(self, progress: ScoringProgress) -> None:
        """Show a progress report."""
        if self._bar is None:
            self._started = time.monotonic()
            self._bar = tqdm(
                total=progress.total_bytes,
                disable=None,  # unless stderr is a terminal
                bar_format="{percentage:3.0f} % |{bar}| {desc} [{elapsed}, {remaining} left]"
                if progress.total_bytes
                else "{desc} [{elapsed}]",
            )
        self._rows = progress.rows
        if self._bar.disable:
            return
        self._bar.initial = progress.resumed_bytes  # excluded from the estimate of time left
        self._bar.set_description_str(self._speed(), refresh=False)
        self._bar.update(progress.done_bytes - self._bar.n)

    def __str__(self) -> str:
        return f"{self._speed()}, {time.monotonic() - self._started:,.1f} s"

    def _speed(self) -> str:
        seconds = max(time.monotonic() - self._started, 1e-3)
        return f"{_rows(self._rows)}, {self._rows / seconds:,.0f} rows/s"


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"


def _print(message: str) -> None:
    click.echo(escape_controls(message), err=True)


@contextmanager
def _printed_notes() -> Iterator[None]:
    """Print the notes of an error, which say how to resume."""
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        for note in getattr(error, "__notes__", ()):
            _print(note)
        raise
