"""Cut files into shards, and score shards.

The content of a shard depends only on the files and the plan, so shards can be scored in any order,
on any machine, and more than once. Does not know where shards are stored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

from reelsense.bulk import columns
from reelsense.bulk.plan import ScoringTask
from reelsense.bulk.rows import Answer, Predict, added, answer_rows
from reelsense.errors import TextError
from reelsense.inference.classifier import Classifier
from reelsense.prediction import Explanation
from reelsense.tables.delimited import UNDECODED, Row
from reelsense.tables.reading import open_table
from reelsense.tables.writing import encode, json_line

_SHARD_CHARACTERS = 32_000_000
"""A shard also ends after this many characters, which bounds memory for long rows."""

BATCH_ROWS, BATCH_ROWS_EXPLAINED = 256, 8
"""Rows per call of the classifier."""

_THREADS = 2
"""Batches in flight: one is tokenized or finished while the network runs the other."""

IsKnown = Callable[[str, str], bool]
"""Whether the shard with this name and digest has already been scored."""


@dataclass(frozen=True, slots=True)
class Shard:
    """Consecutive rows of the input."""

    name: str
    """Sorting shards by name restores the row order."""
    rows: tuple[Row, ...]
    """Empty if the shard has already been scored."""
    digest: str
    """Of the rows."""
    input_bytes: float
    """Approximate size in the input files."""


@dataclass(frozen=True, slots=True)
class ShardRecord:
    """What is stored about a completed shard."""

    digest: str
    rows: int
    bad: int
    """Rows that could not be scored."""
    undecoded: int = 0
    """Bad rows that are not UTF-8."""


@dataclass(frozen=True, slots=True)
class ScoredShard:
    """A scored shard, ready to be written."""

    name: str
    record: ShardRecord
    table: bytes
    bad_rows: tuple[str, ...]
    """A line of JSON per row that could not be scored: file, line, error and values."""


def shards(
    task: ScoringTask, number: int, is_known: IsKnown = lambda _name, _digest: False
) -> Iterator[Shard]:
    """Cut an input group into shards.

    Args:
        task: The plan.
        number: Index of the input group.
        is_known: Shards for which this is true are yielded without their rows.

    Raises:
        DatasetError: A file cannot be read to its end.
    """
    rows: list[Row] = []
    characters = count = 0
    shard_start = 0.0

    def shard(end: float) -> Shard:
        name = f"{number:06d}-{count:06d}"
        digest = _digest(rows)
        kept = () if is_known(name, digest) else tuple(rows)
        return Shard(name, kept, digest, end - shard_start)

    position = 0.0
    for row, position in _rows(task, number):
        rows.append(row)
        characters += sum(
            len(value) for value in row.values.values() if isinstance(value, str | bytes)
        )
        if len(rows) == task.shard_rows or characters >= _SHARD_CHARACTERS:
            yield shard(position)
            rows, characters, count, shard_start = [], 0, count + 1, position
    if rows:
        yield shard(position)


def _rows(task: ScoringTask, number: int) -> Iterator[tuple[Row, float]]:
    """Yield the rows of an input group, each with the bytes of the group read so far."""
    finished_bytes = 0
    for file in task.input_groups[number]:
        size = file.size or 0
        with open_table(file, task.input_format, task.encoding) as table:
            for n, row in enumerate(table.rows):
                if n == 0 and task.input_format.suffix != ".jsonl" and task.schema.columns:
                    columns.check_same(tuple(row.values), task.schema.columns, file, task.files[0])
                yield replace(row, file=file.name), finished_bytes + table.fraction_read() * size
        finished_bytes += size


def _digest(rows: Sequence[Row]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for row in rows:
        content = repr((row.file, row.line, row.values, row.error))
        digest.update(content.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def score(
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
    order = sorted(range(len(rows)), key=lambda n: len(str(rows[n].values.get(task.column))))
    size = BATCH_ROWS_EXPLAINED if task.explain else BATCH_ROWS
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
    return _encoded(task, shard, rows, answers)


def _encoded(
    task: ScoringTask, shard: Shard, rows: list[Row], answers: list[Answer]
) -> ScoredShard:
    names = [name for name in task.schema.added if name not in ("file", "error")]
    table: list[tuple[Row, dict[str, object]]] = []
    bad_rows: list[str] = []
    for row, answer in zip(rows, answers, strict=True):
        cells = {"file": row.file} | added(answer, str(row.values.get(task.column)), names)
        table.append((row, {name: cells[name] for name in task.schema.added}))
        if isinstance(answer, str):
            bad_rows.append(
                json_line({"file": row.file, "line": row.line, "error": answer, "row": row.values})
            )
    undecoded = sum(row.error == UNDECODED for row in rows)
    return ScoredShard(
        shard.name,
        ShardRecord(shard.digest, len(rows), len(bad_rows), undecoded),
        encode(task.schema, table, header=task.shard_header),
        tuple(bad_rows),
    )


def _with_column_error(row: Row, task: ScoringTask) -> Row:
    """Mark a row as bad if it has keys for which the output table has no column."""
    if task.input_format.suffix != ".jsonl" or not task.schema.has_columns or row.error:
        return row
    unknown = [name for name in row.values if name not in task.schema.columns]
    if not unknown:
        return row
    return replace(row, error=f"no column for {', '.join(unknown)}: write .jsonl to keep such keys")


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
