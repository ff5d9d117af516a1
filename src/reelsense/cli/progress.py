"""How far the scoring of files is: a bar in a terminal, and a line at the end."""

from __future__ import annotations

import time
from types import TracebackType

import click
from tqdm import tqdm

from reelsense.bulk.shards import ScoringTask, Shard


class ProgressBar:
    """A bar over the bytes of the files, where these are known, or else over rows."""

    def __init__(self, task: ScoringTask) -> None:
        size = task.size
        self._bar = tqdm(
            total=size,
            disable=None,
            bar_format="{percentage:3.0f} % |{bar}| {desc} [{elapsed}, {remaining} left]"
            if size
            else "{desc} [{elapsed}]",
        )
        self.rows = self._skipped = self._shards_skipped = 0
        self._step = 0.0
        self._begun = time.monotonic()

    def __enter__(self) -> ProgressBar:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the bar as it stands."""
        self._bar.close()

    def skip(self, shard: Shard, rows: int) -> None:
        """Note a shard of so many rows that was scored before."""
        self._skipped += rows
        self._shards_skipped += 1
        if not self._bar.disable:  # it counts for nothing in the time that is left
            self._bar.initial += shard.size
        self._move(shard.size)

    def begin(self, shard: Shard) -> None:
        """Note that `shard` is scored now."""
        self._step = shard.size / len(shard.rows)

    def scored(self, rows: int) -> None:
        """Note that so many more of its rows are."""
        self.rows += rows
        self._move(self._step * rows)

    def add(self, shard: Shard, rows: int) -> None:
        """Note that a whole shard of so many rows is scored."""
        self.rows += rows
        self._move(shard.size)

    def _move(self, size: float) -> None:
        self._bar.set_description_str(self._said(), refresh=False)
        self._bar.update(size)

    def _said(self) -> str:
        seconds = max(time.monotonic() - self._begun, 1e-3)
        return f"{self.rows:,} rows, {self.rows / seconds:,.0f} rows/s"

    def tell(self, address: str) -> None:
        """Say what was done."""
        if self._skipped:
            shards = f"{self._shards_skipped:,} shard{'s' * (self._shards_skipped > 1)}"
            click.echo(f"{shards} from before, {self._skipped:,} rows, not scored again", err=True)
        seconds = time.monotonic() - self._begun
        click.echo(f"{address}: {self._said()}, {seconds:,.1f} s", err=True)
