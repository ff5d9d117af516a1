"""A progress bar for the scoring of files."""

from __future__ import annotations

import time
from typing import Any

from tqdm import tqdm

from reelsense.bulk.score_files import ScoringProgress


class ProgressBar:
    """Shows progress in input bytes, or in rows if the input size is unknown.

    Call it with each progress report. `str()` returns rows, speed and duration.
    """

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None
        self._rows = 0
        self._started = time.monotonic()

    def __enter__(self) -> ProgressBar:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the bar and leave it on the screen."""
        if self._bar is not None:
            self._bar.close()

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
        """Return rows, speed and duration."""
        return f"{self._speed()}, {time.monotonic() - self._started:,.1f} s"

    def _speed(self) -> str:
        seconds = max(time.monotonic() - self._started, 1e-3)
        return f"{self._rows:,} rows, {self._rows / seconds:,.0f} rows/s"
