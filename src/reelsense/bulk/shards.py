"""Score tables of any size: cut them into shards, and each shard into answers.

What is in a shard depends on the files alone, so that shards can be scored in any order, on any
machine and a second time. Knows neither where shards are kept nor who scores them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

from reelsense.bulk import columns
from reelsense.bulk.rows import EXPLAINED, Answer, Predict, added, added_columns, answer_rows
from reelsense.bundle import Manifest
from reelsense.errors import DatasetError, TextError
from reelsense.inference.classifier import Classifier
from reelsense.prediction import Explanation
from reelsense.tables.delimited import UNDECODED, Row
from reelsense.tables.reading import PARQUET, FileFormat, file_format_of, reading
from reelsense.tables.storage import FileInfo
from reelsense.tables.writing import OutputSchema, encode, json_line

SHARD_ROWS = 2048
"""Half a minute of whole reviews on two cores, which is what an interruption may cost."""

_SHARD_CHARACTERS = 32_000_000
"""A shard ends with the row that fills it so far: rows may be long, and memory is not endless."""

_UNIT_BYTES = 16 * 2**20
"""Small files are cut into shards together until they are of this size, large ones alone."""

STEP, STEP_EXPLAINED = 256, 8
"""Rows that are given to the classifier at a time."""

_SIDE_BY_SIDE = 2
"""Such steps in hand: one is being cut into tokens, or ends, while the network reads the other."""

IsKnown = Callable[[str, str], bool]
"""Says of the name and the digest of a shard whether it need not be scored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoringTask:
    """All that decides what comes out: the same on every machine."""

    input_groups: tuple[tuple[FileInfo, ...], ...]
    """The files, in order; those of a unit are cut into shards together."""
    kind: FileFormat
    """Of the files."""
    encoding: str | None
    column: str
    """Of the texts; blank for that of a pipe, which is not known before its first row."""
    layout: OutputSchema
    shard_rows: int
    risk: float | None
    explain: bool
    header: bool
    """Whether every shard begins with the names of the columns."""
    model: str
    """The version of the model."""

    @property
    def first(self) -> FileInfo:
        """The first file."""
        return self.input_groups[0][0]

    @property
    def size(self) -> int | None:
        """The bytes of all files; None if that is not known."""
        sizes = [each.size for unit in self.input_groups for each in unit]
        return None if None in sizes else sum(size or 0 for size in sizes)


@dataclass(frozen=True, slots=True)
class Shard:
    """Consecutive rows."""

    name: str
    """In the order of the names the shards are in the order of the rows."""
    rows: tuple[Row, ...]
    digest: str
    """Of the rows."""
    size: float
    """Bytes of the files, about."""


@dataclass(frozen=True, slots=True)
class ScoredShard:
    """A shard with its answers, ready to be kept."""

    name: str
    digest: str
    table: bytes
    rows: int
    bad: tuple[str, ...]
    """A line of JSON for each row that could not be scored: its file, line, error and values."""
    undecoded: int
    """Of these, how many are not UTF-8 text."""


def plan(
    found: Sequence[FileInfo],
    manifest: Manifest,
    *,
    kind: FileFormat | None = None,
    to: FileFormat | None = None,
    encoding: str | None = None,
    column: str | None = None,
    shard_rows: int = SHARD_ROWS,
    risk: float | None = None,
    explain: bool = False,
    header: bool = True,
    many: bool = False,
) -> ScoringTask:
    """Return the task of scoring the files `found`, which are of one `kind`.

    They become tables of the kind `to`; by default of the same, and .txt of .csv. The texts are in
    the `column`, by default the only one, or text. If there may be `many` files, rows say which
    they are from. Raises DatasetError if a file cannot be read, lacks the `column` or has other
    columns than the first.
    """
    kind = kind or _one_kind(found)
    to = to or (FileFormat(".csv", kind.compressed) if kind.suffix == ".txt" else kind)
    if encoding and kind.suffix == PARQUET:
        raise DatasetError("Parquet says itself how its texts are encoded: leave out --encoding")
    ours = (
        *(["file"] if many else []),
        *added_columns(manifest),
        *(EXPLAINED if explain else ()),
        "error",
    )
    is_pipe = found[0].size is None
    names = () if is_pipe and kind.suffix != ".txt" else columns.of(found, kind, encoding)
    column = "text" if kind.suffix == ".txt" else column
    schema = None
    if kind.suffix == PARQUET and to.suffix == PARQUET:
        schema = columns.types(found[0])
    if is_pipe and kind.suffix == ".jsonl" and to.suffix not in (".jsonl", ".txt"):
        raise DatasetError(
            f"{found[0].name} cannot be read twice to see which keys there are: write a .jsonl"
        )
    return ScoringTask(
        input_groups=tuple(_units(found)),
        kind=kind,
        encoding=encoding,
        column=column or "" if is_pipe else columns.chosen(names, column, found[0]),
        layout=OutputSchema(to, ours, names, schema),
        shard_rows=shard_rows,
        risk=risk,
        explain=explain,
        header=header,
        model=manifest.version,
    )


def with_columns_of(task: ScoringTask, shard: Shard) -> ScoringTask:
    """Return `task` with the columns of its first shard: those of a pipe are not known before."""
    if task.layout.columns:
        return task
    names = tuple(dict.fromkeys(name for row in shard.rows for name in row.values))
    column = columns.chosen(names, task.column or None, task.first)
    if task.kind.suffix == ".jsonl":
        return replace(task, column=column)
    return replace(task, column=column, layout=replace(task.layout, columns=names))


def shards(
    task: ScoringTask, number: int, is_known: IsKnown = lambda _name, _digest: False
) -> Iterator[Shard]:
    """Cut unit `number` of `task` into shards, one by one.

    Of a shard that `is_known`, there are no rows but everything else. Raises DatasetError if a file
    cannot be read to its end.
    """
    rows: list[Row] = []
    characters, count, begun = 0, 0, 0.0
    for row, read in _rows(task, number):
        rows.append(row)
        characters += sum(
            len(each) for each in row.values.values() if isinstance(each, str | bytes)
        )
        if len(rows) == task.shard_rows or characters >= _SHARD_CHARACTERS:
            yield _shard(f"{number:06d}-{count:06d}", rows, read - begun, is_known)
            rows, characters, count, begun = [], 0, count + 1, read
    if rows:
        yield _shard(f"{number:06d}-{count:06d}", rows, read - begun, is_known)


def score(
    classifier: Classifier,
    task: ScoringTask,
    shard: Shard,
    on_rows: Callable[[int], object] = lambda _: None,
) -> ScoredShard:
    """Return the rows of `shard` with their answers; `on_rows` is told of those that are there.

    Rows of like length are read together, which leaves little padding.
    """
    predict: Predict = partial(classifier.predict_each, risk=task.risk)
    if task.explain:
        predict = partial(_explain_each, classifier, risk=task.risk)
    rows = [_fitting(row, task) for row in shard.rows]
    order = sorted(range(len(rows)), key=lambda n: len(str(rows[n].values.get(task.column))))
    step = STEP_EXPLAINED if task.explain else STEP
    steps = [order[start : start + step] for start in range(0, len(order), step)]
    answers: list[Answer] = [""] * len(rows)

    def answer(some: list[int]) -> list[Answer]:
        return answer_rows(predict, [rows[n] for n in some], task.column)

    threads = ThreadPoolExecutor(_SIDE_BY_SIDE, thread_name_prefix="scoring")
    try:
        for some, found in zip(steps, threads.map(answer, steps), strict=True):
            for n, each in zip(some, found, strict=True):
                answers[n] = each
            on_rows(len(some))
    finally:
        threads.shutdown(cancel_futures=True)
    return _scored(task, shard, rows, answers)


def _scored(task: ScoringTask, shard: Shard, rows: list[Row], answers: list[Answer]) -> ScoredShard:
    names = [name for name in task.layout.added if name not in ("file", "error")]
    told = [
        (row, {"file": row.file} | added(answer, str(row.values.get(task.column)), names))
        for row, answer in zip(rows, answers, strict=True)
    ]
    ordered = [(row, {name: what[name] for name in task.layout.added}) for row, what in told]
    bad = tuple(
        json_line({"file": row.file, "line": row.line, "error": answer, "row": row.values})
        for row, answer in zip(rows, answers, strict=True)
        if isinstance(answer, str)
    )
    table = encode(task.layout, ordered, header=task.header)
    undecoded = sum(row.error == UNDECODED for row in rows)
    return ScoredShard(shard.name, shard.digest, table, len(rows), bad, undecoded)


def _fitting(row: Row, task: ScoringTask) -> Row:
    """Return `row`, as an error if the table that is written has no columns for its keys."""
    if task.kind.suffix != ".jsonl" or not task.layout.has_columns or row.error:
        return row
    others = [name for name in row.values if name not in task.layout.columns]
    if not others:
        return row
    return replace(row, error=f"no column for {', '.join(others)}: write .jsonl to keep such keys")


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


def _rows(task: ScoringTask, number: int) -> Iterator[tuple[Row, float]]:
    """Yield the rows of unit `number`, and how many bytes of it were read by then."""
    done = 0
    for found in task.input_groups[number]:
        size = found.size or 0
        with reading(found, task.kind, task.encoding) as table:
            for n, row in enumerate(table.rows):
                if n == 0 and task.kind.suffix != ".jsonl" and task.layout.columns:
                    columns.check_same(tuple(row.values), task.layout.columns, found, task.first)
                yield replace(row, file=found.name), done + table.share() * size
        done += size


def _shard(name: str, rows: list[Row], size: float, is_known: IsKnown) -> Shard:
    digest = hashlib.blake2b(digest_size=16)
    for row in rows:
        content = repr((row.file, row.line, row.values, row.error))
        digest.update(content.encode("utf-8", "surrogatepass"))
    kept = () if is_known(name, digest.hexdigest()) else tuple(rows)
    return Shard(name, kept, digest.hexdigest(), size)


def _one_kind(found: Sequence[FileInfo]) -> FileFormat:
    kinds = {str(kind): kind for kind in (file_format_of(each.name) for each in found)}
    if len(kinds) > 1:
        raise DatasetError(
            f"the files are of several kinds ({', '.join(sorted(kinds))}): name those of one, as "
            f"'folder/*{min(kinds)}'"
        )
    return next(iter(kinds.values()))


def _units(found: Sequence[FileInfo]) -> Iterator[tuple[FileInfo, ...]]:
    unit: list[FileInfo] = []
    size = 0
    for each in found:
        if unit and size + (each.size or 0) > _UNIT_BYTES:
            yield tuple(unit)
            unit, size = [], 0
        unit.append(each)
        size += each.size or 0
    yield tuple(unit)
