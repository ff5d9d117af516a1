"""Cut files into shards, and score shards.

The content of a shard depends only on the files and the task, so shards can be scored in any order,
on any machine, and more than once. Does not know where shards are stored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

from reelsense.bulk.plan import ScoringTask, check_columns
from reelsense.bulk.rows import Answer, Predict, added, answer_rows
from reelsense.errors import TextError
from reelsense.inference.classifier import Classifier
from reelsense.prediction import Explanation
from reelsense.tables import parquet
from reelsense.tables.reading import JSON, open_table
from reelsense.tables.row import Row, row_text
from reelsense.tables.text import UNDECODED
from reelsense.tables.writing import encode, json_line

_MAX_SHARD_SIZE = 8_000_000  # characters after which a shard ends, to limit memory for long rows

_THREADS = 2  # batches in flight: one is tokenized or finished while the network runs the other


@dataclass(frozen=True, slots=True)
class Shard:
    """Consecutive rows of the input."""

    name: str  # sorting shards by name restores the row order
    rows: tuple[Row, ...]  # empty if the shard has already been scored
    digest: str  # of the rows
    input_bytes: float  # approximate size in the input files


@dataclass(frozen=True, slots=True)
class ShardRecord:
    """What is stored about a completed shard."""

    rows: int
    bad_rows: int  # rows that could not be scored
    undecoded_rows: int  # bad rows that are not UTF-8
    digest: str


@dataclass(frozen=True, slots=True)
class ScoredShard:
    """A scored shard, ready to be written."""

    name: str
    record: ShardRecord
    table: bytes
    bad_rows: tuple[str, ...]  # as JSON lines: file, line, error and values


def cut_shards(
    task: ScoringTask, number: int, records: Mapping[str, ShardRecord]
) -> Iterator[Shard]:
    """Cut the input group `number` into shards. Those in `records` are yielded without their rows.

    Raises DatasetError if a file cannot be read to its end.
    """
    rows: list[Row] = []
    size = count = 0
    shard_start = position = 0.0

    def shard() -> Shard:
        name, digest = f"{number:06d}-{count:06d}", _digest(rows)
        is_known = name in records and records[name].digest == digest
        return Shard(name, () if is_known else tuple(rows), digest, position - shard_start)

    for row, position in _rows(task, number):
        rows.append(row)
        size += row.size
        if len(rows) == task.shard_rows or size >= _MAX_SHARD_SIZE:
            yield shard()
            rows, size, count, shard_start = [], 0, count + 1, position
    if rows:
        yield shard()


def _rows(task: ScoringTask, number: int) -> Iterator[tuple[Row, float]]:
    """Yield the rows of an input group, each with the bytes of the group read so far."""
    finished_bytes = 0
    for file in task.input_groups[number]:
        size = file.size or 0
        with open_table(file, task.options) as table:
            check_columns(table.columns, file, task)
            for row, fraction_read in table.rows:
                yield replace(row, file=file.name), finished_bytes + fraction_read * size
        finished_bytes += size


def _digest(rows: Sequence[Row]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for row in rows:
        content = repr((row.file, row.line, row.values, row.error))
        digest.update(content.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def batch_rows(*, explain: bool) -> int:
    """Return the number of rows per call of the classifier."""
    return 8 if explain else 256


def score_shard(
    classifier: Classifier,
    task: ScoringTask,
    shard: Shard,
    on_rows: Callable[[int], object] = lambda _: None,
) -> ScoredShard:
    """Score the rows of a shard; `on_rows` is called with the row count of each finished batch."""
    predict: Predict = partial(classifier.predict_each, risk=task.risk)
    if task.explain:
        predict = partial(_explain_each, classifier, risk=task.risk)
    rows = [_with_column_error(row, task) for row in shard.rows]
    # Rows of similar length share a batch, which saves padding.
    order = sorted(range(len(rows)), key=lambda n: len(row_text(rows[n], task.column)))
    size = batch_rows(explain=task.explain)
    batches = [order[start : start + size] for start in range(0, len(order), size)]
    answers: list[Answer] = [""] * len(rows)

    def answer(batch: list[int]) -> list[Answer]:
        return answer_rows(predict, [rows[n] for n in batch], task.column)

    threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="scoring")
    try:
        for batch, batch_answers in zip(batches, threads.map(answer, batches), strict=True):
            for n, row_answer in zip(batch, batch_answers, strict=True):
                answers[n] = row_answer
            on_rows(len(batch))
    finally:
        threads.shutdown(cancel_futures=True)
    return _encode(task, shard, rows, answers)


def _encode(task: ScoringTask, shard: Shard, rows: list[Row], answers: list[Answer]) -> ScoredShard:
    names = [name for name in task.schema.added if name not in ("file", "error")]
    table: list[tuple[Row, dict[str, object]]] = []
    bad_rows: list[str] = []
    for row, answer in zip(rows, answers, strict=True):
        cells = {"file": row.file} | added(answer, row_text(row, task.column), names)
        table.append((row, {name: cells[name] for name in task.schema.added}))
        if isinstance(answer, str):
            bad_rows.append(
                json_line({"file": row.file, "line": row.line, "error": answer, "row": row.values})
            )
    undecoded = sum(row.error == UNDECODED for row in rows)
    return ScoredShard(
        shard.name,
        ShardRecord(len(rows), len(bad_rows), undecoded, shard.digest),
        encode(task.schema, table, header=task.shard_header),
        tuple(bad_rows),
    )


def _with_column_error(row: Row, task: ScoringTask) -> Row:
    """Mark a row as bad if the output table has no column for one of its values."""
    if task.input_suffix not in JSON or not task.schema.has_columns or row.error:
        return row
    hint = "write .jsonl to keep it"
    for name, value in row.values.items():
        if name not in task.schema.columns:
            return replace(row, error=f"no column for {name[:100]!r}: {hint}")
        types = task.schema.types
        if types is not None and not parquet.fits(value, types.field(name).type):
            return replace(row, error=f"{name[:100]!r} has another type than before: {hint}")
    return row


def _explain_each(
    classifier: Classifier, texts: Sequence[str], *, risk: float | None
) -> list[Explanation | TextError]:
    answers: list[Explanation | TextError] = []
    for text in texts:
        try:
            answers.append(classifier.explain(text, risk=risk))
        except TextError as error:
            answers.append(error)
    return answers
