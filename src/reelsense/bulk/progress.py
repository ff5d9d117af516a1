"""Progress and summary of a run. Does not know how they are shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from reelsense.bulk.shards import ShardRecord


@dataclass(frozen=True, slots=True)
class ScoringProgress:
    """How far a run is."""

    total_bytes: int | None  # size of the input files; None if one of them is a pipe
    done_bytes: float = 0.0  # approximate input bytes that are scored, including `resumed_bytes`
    resumed_bytes: float = 0.0  # approximate input bytes that an earlier run had scored
    rows: int = 0  # scored by this run
    resumed_rows: int = 0  # scored by an earlier run
    resumed_shards: int = 0
    bad_rows: int = 0  # rows of completed shards that could not be scored
    undecoded_rows: int = 0  # bad rows that are not UTF-8


OnProgress = Callable[[ScoringProgress], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoringSummary:
    """The result of `score_files`."""

    rows: int  # in the output, including `resumed_rows`
    bad_rows: int  # rows that could not be scored; their column `error` says why
    undecoded_rows: int  # bad rows that are not UTF-8: pass the encoding of the file
    resumed_rows: int  # scored by an earlier run
    resumed_shards: int
    inputs: tuple[str, ...]  # the files that were read, in order
    ignored: tuple[str, ...]  # files that were skipped because their names are not those of tables
    output: str | None  # the file or folder that was written; None for a stream
    bad_rows_output: str | None  # where the bad rows are collected; None without them or a stream

    @property
    def is_failure(self) -> bool:
        """Whether there were rows and none could be scored."""
        return 0 < self.rows == self.bad_rows


class ProgressTracker:
    """Adds up the counts of a run and reports them."""

    def __init__(self, total_bytes: int | None, on_progress: OnProgress | None) -> None:
        self.state = ScoringProgress(total_bytes)
        self._on_progress = on_progress or (lambda _: None)
        self._on_progress(self.state)

    def add_rows(self, rows: int, input_bytes: float) -> None:
        """Count rows scored by this run."""
        self._add(rows=rows, done_bytes=input_bytes)
        self._on_progress(self.state)

    def add_errors(self, record: ShardRecord) -> None:
        """Count the bad rows of a shard."""
        self._add(bad_rows=record.bad_rows, undecoded_rows=record.undecoded_rows)

    def add_resumed(self, record: ShardRecord, input_bytes: float) -> None:
        """Count a shard that an earlier run completed."""
        self.add_errors(record)
        self._add(
            done_bytes=input_bytes,
            resumed_bytes=input_bytes,
            resumed_rows=record.rows,
            resumed_shards=1,
        )
        self._on_progress(self.state)

    def _add(self, **counts: float) -> None:
        sums = {name: getattr(self.state, name) + count for name, count in counts.items()}
        self.state = replace(self.state, **sums)
