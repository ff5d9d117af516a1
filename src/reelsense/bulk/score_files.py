"""Score files of texts: every row is written with its prediction.

Memory use does not grow with the files. A row that cannot be scored gets an error; the other rows
are still scored. An interrupted run resumes when it is started again. Prints nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import IO, Protocol

from reelsense.bulk.locations import (
    check_locations,
    check_stream,
    find_inputs,
    input_format_of,
    is_one_file,
    output_format_of,
)
from reelsense.bulk.output import Output
from reelsense.bulk.plan import SHARD_ROWS, ScoringTask, plan, with_columns_of
from reelsense.bulk.progress import OnProgress, ProgressTracker, ScoringSummary
from reelsense.bulk.shards import (
    ScoredShard,
    Shard,
    ShardRecord,
    batch_rows,
    cut_shards,
    score_shard,
)
from reelsense.bundle import Manifest
from reelsense.errors import DatasetError, InputError
from reelsense.inference.classifier import Classifier
from reelsense.tables import storage
from reelsense.tables.reading import (
    PARQUET,
    STANDARD_INPUT,
    FileFormat,
    ReadOptions,
    file_format_of,
)
from reelsense.tables.records import Quoting
from reelsense.tables.storage import FileInfo
from reelsense.tables.writing import empty


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
    input_format: str | None = None,
    encoding: str | None = None,
    delimiter: str | None = None,
    quoting: Quoting | None = None,
    header: bool = True,
    sheet: str | None = None,
    risk: float | None = None,
    explain: bool = False,
    shard_rows: int = SHARD_ROWS,
    output_format: str | None = None,
    on_progress: OnProgress | None = None,
    on_message: Callable[[str], object] = lambda _: None,
    executor: Executor | None = None,
) -> ScoringSummary:
    """Score every text of .csv, .tsv, .jsonl, .json, .txt, .xlsx or Parquet files.

    The output has the columns of the input and label, score, positive, verdict, stars and error, as
    far as the model provides them. If the input has a column of the same name, the added one is
    called predicted_label and so on. Results are stored in shards: if a run is interrupted, the
    same call resumes it and scores at most the rows of one shard again.

    Args:
        inputs: A file, a folder, a glob pattern or a URL such as `s3://bucket/*.csv`; "-" reads
            one text per line from standard input. Files that the output would overwrite are
            skipped.
        output: A file, whose name determines the format; a folder, whose name ends with /, for one
            file per shard; or a binary stream, which cannot be resumed.
        model: A classifier, the name of an installed model, or the folder of a bundle; None: the
            bundled model.
        column: Name or number (from 1) of the text column, or a path such as "review.text" into
            nested JSON; by default the only column, or one with a usual name (text, review, ...).
        input_format: Format of the input, such as "csv.gz"; None: from its name. For .json and
            .jsonl, the content decides between an array of objects and JSON Lines.
        encoding: Of text files, such as "windows-1252"; None: UTF-8.
        delimiter: Character between the columns of a .csv or .tsv; None: detect it.
        quoting: How a .csv or .tsv writes a quote inside a quoted field: "doubled", "backslash",
            or "none" if it has no quoted fields; None: detect it.
        header: Whether the first line of a .csv, .tsv or .xlsx contains the column names.
        sheet: Of an .xlsx file; None: the first one.
        risk: Target error rate, 0 to 1; less certain verdicts are "unsure". None: the default of
            the model.
        explain: Whether to add the columns because and explanation. About 20 times slower.
        shard_rows: Rows that are scored and stored together.
        output_format: Format of a folder or a stream, such as "jsonl.gz"; None: that of the input.
        on_progress: Called whenever rows have been scored, in the calling thread.
        on_message: Called with what the user should know about the files: their dialect, or that
            the first line does not look like a header.
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
    file_format = input_format_of(source, input_format)
    files, ignored = find_inputs(source, path, file_format)
    is_stream = path is None or files[0].size is None
    if is_stream:
        check_stream(source, path, on_cluster=executor is not None)
        shard_rows = min(shard_rows, batch_rows(explain=explain))
    scorer = executor or _classifier(model)
    task, messages = plan(
        files,
        scorer.manifest,
        options=ReadOptions(file_format, encoding, delimiter, quoting, header, sheet),
        output_format=output_format_of(path, output_format)
        or (_stream_format(files[0], file_format) if path is None else None),
        column=column,
        shard_rows=shard_rows,
        risk=risk,
        explain=explain,
        shard_header=path is not None and storage.is_folder(path),
        file_column=source != STANDARD_INPUT and not is_one_file(source, files),
    )
    if is_stream and getattr(output, "isatty", bool)():
        schema = replace(task.schema, format=FileFormat(task.schema.format.suffix))
        task = replace(task, schema=schema)  # a terminal shows no gzip
    for message in messages:
        on_message(message)
    tracker = ProgressTracker(task.total_bytes, on_progress)
    bad_rows_output = None
    if is_stream and isinstance(scorer, Classifier):
        with _open_stream(output) as stream:
            _score_to_stream(scorer, task, stream, tracker)
    else:
        bad_rows_output = _score_to_output(scorer, task, path or "", tracker)
    counts = tracker.state
    return ScoringSummary(
        rows=counts.rows + counts.resumed_rows,
        bad_rows=counts.bad_rows,
        undecoded_rows=counts.undecoded_rows,
        resumed_rows=counts.resumed_rows,
        resumed_shards=counts.resumed_shards,
        inputs=tuple(file.name for file in files),
        ignored=tuple(ignored),
        output=path,
        bad_rows_output=bad_rows_output,
    )


def _stream_format(file: FileInfo, file_format: FileFormat | None) -> FileFormat | None:
    """Return the default format of a stream, which cannot be Parquet; None: that of the input."""
    is_parquet = (file_format or file_format_of(file.name)).suffix == PARQUET
    return FileFormat(".csv") if is_parquet else None


def _classifier(model: Classifier | str | os.PathLike[str] | None) -> Classifier:
    if isinstance(model, Classifier):
        return model
    return Classifier.load(None if model is None else os.fspath(model))


def _score_to_output(
    scorer: Classifier | Executor, task: ScoringTask, path: str, tracker: ProgressTracker
) -> str | None:
    """Score the files into `path`. Return where the bad rows are, or None without any."""
    with Output(path, task) as output, _resumable(output):
        if isinstance(scorer, Classifier):
            output.finish(_score_shards(scorer, task, output, tracker))
        else:
            output.finish(scorer.run(task, output, tracker))
    return output.bad_rows if tracker.state.bad_rows else None


def _score_shards(
    classifier: Classifier, task: ScoringTask, output: Output, tracker: ProgressTracker
) -> list[str]:
    """Write the missing shards to `output`. Return the names of all shards, in row order."""
    names = []
    for shard in _all_shards(task, output.records):
        names.append(shard.name)
        if shard.rows:
            output.write(_score(classifier, task, shard, tracker))
        else:
            tracker.add_resumed(output.records[shard.name], shard.input_bytes)
    return names


def _score_to_stream(
    classifier: Classifier, task: ScoringTask, stream: IO[bytes], tracker: ProgressTracker
) -> None:
    """Score an input that cannot be read again, or to an output that cannot be resumed."""
    if task.schema.format.suffix == PARQUET:
        raise DatasetError(
            "Parquet cannot be streamed: pass files as input and output", code="parquet-stream"
        )
    n = -1
    for n, shard in enumerate(_all_shards(task, {})):
        if n == 0:
            task = with_columns_of(task, shard.rows)
        scored = _score(classifier, replace(task, shard_header=n == 0), shard, tracker)
        stream.write(scored.table)
        stream.flush()
    if n < 0:
        stream.write(empty(task.schema))


def _open_stream(
    output: str | os.PathLike[str] | IO[bytes],
) -> AbstractContextManager[IO[bytes]]:
    if isinstance(output, str | os.PathLike):
        return storage.replace_file(os.fspath(output))
    return nullcontext(output)


def _all_shards(task: ScoringTask, records: Mapping[str, ShardRecord]) -> Iterator[Shard]:
    for number in range(len(task.input_groups)):
        yield from cut_shards(task, number, records)


def _score(
    classifier: Classifier, task: ScoringTask, shard: Shard, tracker: ProgressTracker
) -> ScoredShard:
    row_bytes = shard.input_bytes / len(shard.rows)
    scored = score_shard(
        classifier, task, shard, on_rows=lambda rows: tracker.add_rows(rows, rows * row_bytes)
    )
    tracker.add_errors(scored.record)
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
