"""Score files of texts: every row is written with its prediction.

Memory use does not grow with the files. A row that cannot be scored gets an error; the other rows
are still scored. An interrupted run resumes when it is started again. Prints nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import IO, Protocol

from reelsense.bulk.output import Output, written
from reelsense.bulk.plan import SHARD_ROWS, ScoringTask, plan, with_columns_of
from reelsense.bulk.shards import (
    BATCH_ROWS,
    BATCH_ROWS_EXPLAINED,
    IsKnown,
    ScoredShard,
    Shard,
    ShardRecord,
    score,
    shards,
)
from reelsense.bundle import Manifest
from reelsense.errors import DatasetError, InputError
from reelsense.inference.classifier import Classifier
from reelsense.tables import parquet, storage
from reelsense.tables.reading import PARQUET, STANDARD_INPUT, FileFormat, file_format_of, is_table
from reelsense.tables.storage import FileInfo
from reelsense.tables.writing import empty


@dataclass(frozen=True, slots=True)
class ScoringProgress:
    """How far a run is."""

    total_bytes: int | None
    """Size of the input files; None if one of them is a pipe."""
    done_bytes: float = 0.0
    """Approximate input bytes that are scored, including `resumed_bytes`."""
    resumed_bytes: float = 0.0
    """Approximate input bytes that an earlier run had scored."""
    rows: int = 0
    """Rows scored by this run."""
    resumed_rows: int = 0
    """Rows that an earlier run had scored."""
    resumed_shards: int = 0


OnProgress = Callable[[ScoringProgress], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoringSummary:
    """The result of `score_files`."""

    rows: int
    """Rows in the output, including `resumed_rows`."""
    bad_rows: int
    """Rows that could not be scored. Their column `error` says why."""
    undecoded_rows: int
    """Bad rows that are not UTF-8: name the encoding of the file."""
    resumed_rows: int
    """Rows that an earlier run had scored."""
    resumed_shards: int
    inputs: tuple[str, ...]
    """The files that were read, in order."""
    ignored: tuple[str, ...]
    """Files that were left out because their names are not those of tables."""
    output: str | None
    """The file or folder that was written; None for a stream."""
    bad_rows_output: str | None
    """Where the bad rows are collected; None if there are none, or for a stream or pipe."""

    @property
    def is_failure(self) -> bool:
        """Whether there were rows and none could be scored."""
        return 0 < self.rows == self.bad_rows


class ProgressTracker:
    """Adds up the counts of a run and reports each change."""

    def __init__(self, total_bytes: int | None, on_progress: OnProgress | None) -> None:
        self.state = ScoringProgress(total_bytes)
        self.bad_rows = self.undecoded_rows = 0
        self._on_progress = on_progress
        self._report()

    def add_rows(self, rows: int, input_bytes: float) -> None:
        """Count rows scored by this run."""
        done_bytes = self.state.done_bytes + input_bytes
        self.state = replace(self.state, rows=self.state.rows + rows, done_bytes=done_bytes)
        self._report()

    def resume(self, input_bytes: float, record: ShardRecord) -> None:
        """Count a shard that an earlier run completed."""
        self.complete(record)
        state = self.state
        self.state = replace(
            state,
            done_bytes=state.done_bytes + input_bytes,
            resumed_bytes=state.resumed_bytes + input_bytes,
            resumed_rows=state.resumed_rows + record.rows,
            resumed_shards=state.resumed_shards + 1,
        )
        self._report()

    def complete(self, record: ShardRecord) -> None:
        """Count the bad rows of a shard."""
        self.bad_rows += record.bad
        self.undecoded_rows += record.undecoded

    def _report(self) -> None:
        if self._on_progress:
            self._on_progress(self.state)


class Executor(Protocol):
    """Scores the shards of a task in other processes, such as a Ray cluster."""

    @property
    def manifest(self) -> Manifest:
        """The manifest of the model."""

    def run(self, task: ScoringTask, output: Output, tracker: ProgressTracker) -> Sequence[str]:
        """Write the missing shards to `output`. Return the names of all shards, in row order."""


def score_files(
    inputs: str | os.PathLike[str],
    output: str | os.PathLike[str] | IO[bytes],
    *,
    model: Classifier | str | os.PathLike[str] | None = None,
    column: str | None = None,
    encoding: str | None = None,
    risk: float | None = None,
    explain: bool = False,
    shard_rows: int = SHARD_ROWS,
    output_format: str | None = None,
    on_progress: OnProgress | None = None,
    executor: Executor | None = None,
) -> ScoringSummary:
    """Score every text of .csv, .tsv, .jsonl, .txt or Parquet files.

    The output has the columns of the input and label, score, positive, verdict, stars and error, as
    far as the model provides them. If the input has a column of the same name, the added one is
    called predicted_label and so on. Results are stored in shards: if a run is interrupted, the
    same call resumes it and scores at most the rows of one shard again.

    Args:
        inputs: A file, a folder, a glob pattern or a URL such as s3://bucket/*.csv; "-" reads one
            text per line from standard input. Files that the output would overwrite are left out.
        output: A file, whose name determines the format; a folder, if it ends with /, for one file
            per shard; or a binary stream, which cannot be resumed.
        model: A classifier, the name of an installed model, or the folder of a bundle; None: the
            bundled model.
        column: The text column; by default the only column, or "text".
        encoding: Of text files, such as "windows-1252"; None: UTF-8.
        risk: Target error rate, 0 to 1; less certain verdicts are "unsure". None: the default of
            the model.
        explain: Whether to add the columns because and explanation. About 20 times slower.
        shard_rows: Rows that are scored and stored together.
        output_format: Format of a folder or a stream, such as "jsonl.gz"; None: that of the input.
        on_progress: Called whenever rows have been scored, in the calling thread.
        executor: Scores the shards elsewhere, instead of `model` in this process. For Ray:
            `reelsense.cluster.score_files.RayExecutor`.

    Returns:
        Counts of rows and errors, and where they are. A run in which no row could be scored is
        not an error: see `ScoringSummary.is_failure`.

    Raises:
        DatasetError: An input cannot be read or lacks the column, or the output cannot be written,
            is in use, or was made with other settings.
        BundleError: The model cannot be loaded.
        ClusterError: The executor lost its cluster.
        MissingExtraError: A format or URL needs an optional dependency.

    Example:
        >>> summary = reelsense.score_files("reviews.csv", "scored.csv", column="review")
        >>> summary.rows, summary.bad_rows
        (25000, 3)
    """
    if executor and model is not None:
        raise InputError(
            "model and executor cannot be combined: pass the model to the executor",
            code="conflicting-arguments",
        )
    source = os.fspath(inputs)
    path = os.fspath(output) if isinstance(output, str | os.PathLike) else None
    check_locations(source, path, output_format)
    files, ignored = _find_inputs(source, path)
    is_stream = path is None or files[0].size is None
    _check_stream(source, path, is_stream=is_stream, on_executor=executor is not None)
    runner = executor or _LocalExecutor(_classifier(model))
    if is_stream:
        shard_rows = min(shard_rows, BATCH_ROWS_EXPLAINED if explain else BATCH_ROWS)
    task = plan(
        files,
        runner.manifest,
        input_format=FileFormat(".txt") if source == STANDARD_INPUT else None,
        output_format=_output_format(path, output_format),
        encoding=encoding,
        column=column,
        shard_rows=shard_rows,
        risk=risk,
        explain=explain,
        shard_header=path is not None and storage.is_folder(path),
        file_column=source != STANDARD_INPUT and not _is_one_file(source, files),
    )
    tracker = ProgressTracker(task.total_bytes, on_progress)
    bad_rows_output = None
    if isinstance(runner, _LocalExecutor) and is_stream:
        with (
            storage.replace_file(os.fspath(output))
            if isinstance(output, str | os.PathLike)
            else nullcontext(output)
        ) as stream:
            _score_to_stream(runner.classifier, task, stream, tracker)
    else:
        with Output(path or "", task) as stored, _resumable(stored):
            stored.finish(runner.run(task, stored, tracker))
        bad_rows_output = stored.bad_rows if tracker.bad_rows else None
    state = tracker.state
    return ScoringSummary(
        rows=state.rows + state.resumed_rows,
        bad_rows=tracker.bad_rows,
        undecoded_rows=tracker.undecoded_rows,
        resumed_rows=state.resumed_rows,
        resumed_shards=state.resumed_shards,
        inputs=tuple(file.name for file in files),
        ignored=tuple(ignored),
        output=path,
        bad_rows_output=bad_rows_output,
    )


def check_locations(inputs: str, output: str | None, output_format: str | None) -> None:
    """Check formats and URLs before a model is loaded.

    Raises:
        DatasetError: A format is unknown or does not match the output, or a URL is invalid.
        MissingExtraError: A format or URL needs an optional dependency.
    """
    if output == "":
        raise DatasetError("the output is blank: name a file or a folder/", code="blank-output")
    file_format = _output_format(output, output_format)
    if file_format and file_format.suffix == PARQUET:
        parquet.imported()
    for address in (inputs, output):
        if address and not storage.is_local(address):
            storage.absolute(address)


def _output_format(output: str | None, name: str | None) -> FileFormat | None:
    """Return the format of the output; None: derive it from the input."""
    named = file_format_of(f"format .{name.lstrip('.')}") if name else None
    if output is None or storage.is_folder(output):
        return named
    try:
        file_format = file_format_of(output)
    except DatasetError as error:
        raise DatasetError(f"{error}; the name of a folder ends with /", code=error.code) from None
    if named not in (None, file_format):
        raise DatasetError(
            f"{output} does not have the format {named}: leave out the format, or name a folder/",
            code="conflicting-formats",
        )
    return file_format


def _check_stream(source: str, path: str | None, *, is_stream: bool, on_executor: bool) -> None:
    if is_stream and on_executor:
        raise DatasetError(
            f"a cluster cannot score {source} to {path or 'a stream'}: name files or folders as "
            "input and output",
            code="stream-on-cluster",
        )
    if is_stream and path and storage.is_folder(path):
        raise DatasetError(
            f"{source} cannot be read again to resume a folder: name one file as output",
            code="pipe-to-folder",
        )


def _classifier(model: Classifier | str | os.PathLike[str] | None) -> Classifier:
    if isinstance(model, Classifier):
        return model
    return Classifier.load(None if model is None else os.fspath(model))


def _find_inputs(source: str, output: str | None) -> tuple[list[FileInfo], list[str]]:
    """Return the files to score, and the names of those that are not tables.

    Files that the output may overwrite are in neither.
    """
    if source == STANDARD_INPUT:
        return [FileInfo(STANDARD_INPUT, STANDARD_INPUT, None)], []
    own = written(output) if output else ()
    own_folders = tuple(address for address in own if address.endswith("/"))
    found = storage.find_files(source)
    files = []
    for file in found:
        address = storage.absolute(file.address)
        if address not in own and not address.startswith(own_folders):
            files.append(file)
    if _is_one_file(source, found):
        if not files:
            raise DatasetError(
                f"{source} would be overwritten: choose another output", code="output-is-input"
            )
        return files, []
    tables = [file for file in files if is_table(file.name)]
    if not tables:
        raise DatasetError(f"{source} contains no tables", code="no-tables")
    return tables, [file.name for file in files if not is_table(file.name)]


def _is_one_file(source: str, files: Sequence[FileInfo]) -> bool:
    """Return whether the source is a file, not a folder or a pattern."""
    return len(files) == 1 and files[0].name == source


class _LocalExecutor:
    """Scores shards one after another in this process."""

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier
        self.manifest = classifier.manifest

    def run(self, task: ScoringTask, output: Output, tracker: ProgressTracker) -> list[str]:
        names = []
        for shard in _all_shards(task, output.is_known):
            names.append(shard.name)
            if shard.rows:
                scored = _score(self.classifier, task, shard, tracker)
                output.keep(scored)
            else:
                tracker.resume(shard.input_bytes, output.records[shard.name])
        return names


def _score_to_stream(
    classifier: Classifier, task: ScoringTask, stream: IO[bytes], tracker: ProgressTracker
) -> None:
    """Score an input that cannot be read again, or to an output that cannot be resumed."""
    if task.schema.format.suffix == PARQUET:
        raise DatasetError(
            "Parquet cannot be streamed: name files as input and output", code="parquet-stream"
        )
    n = -1
    for n, shard in enumerate(_all_shards(task)):
        if n == 0:
            task = with_columns_of(task, shard.rows)
        scored = _score(classifier, replace(task, shard_header=n == 0), shard, tracker)
        stream.write(scored.table)
        stream.flush()
    if n < 0:
        stream.write(empty(task.schema))


def _all_shards(
    task: ScoringTask, is_known: IsKnown = lambda _name, _digest: False
) -> Iterator[Shard]:
    for number in range(len(task.input_groups)):
        yield from shards(task, number, is_known)


def _score(
    classifier: Classifier, task: ScoringTask, shard: Shard, tracker: ProgressTracker
) -> ScoredShard:
    row_bytes = shard.input_bytes / len(shard.rows)
    scored = score(
        classifier, task, shard, on_rows=lambda rows: tracker.add_rows(rows, rows * row_bytes)
    )
    tracker.complete(scored.record)
    return scored


@contextmanager
def _resumable(output: Output) -> Iterator[None]:
    """Remove an empty output on failure; otherwise note on the error that it can be resumed."""
    try:
        yield
    except BaseException as error:
        output.discard_if_empty()
        if output.records:
            error.add_note("completed shards are stored: run the same command again to resume")
        raise
