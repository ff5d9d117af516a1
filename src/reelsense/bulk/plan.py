"""Plan how files are scored: formats, columns, and groups of files that become shards.

Does not know where the results are stored or which process scores them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from reelsense.bulk import columns
from reelsense.bulk.rows import EXPLAINED, added_columns
from reelsense.bundle import Manifest
from reelsense.errors import DatasetError
from reelsense.tables.delimited import Row
from reelsense.tables.reading import PARQUET, FileFormat, file_format_of
from reelsense.tables.storage import FileInfo
from reelsense.tables.writing import OutputSchema

SHARD_ROWS = 2048
"""Default rows per shard: about 30 seconds of full reviews on two cores."""

_GROUP_BYTES = 16 * 2**20
"""Small files are grouped up to this size. A larger file is a group of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoringTask:
    """Everything that determines the output of a run, on any machine."""

    input_groups: tuple[tuple[FileInfo, ...], ...]
    """The files in order. The files of a group are cut into shards together."""
    input_format: FileFormat
    encoding: str | None
    """Of text files; None: UTF-8."""
    column: str
    """The text column. Blank for a pipe until its first rows have been read."""
    schema: OutputSchema
    shard_rows: int
    risk: float | None
    explain: bool
    shard_header: bool
    """Whether every shard of a .csv or .tsv starts with the column names."""
    model_version: str

    @property
    def files(self) -> list[FileInfo]:
        """All input files, in order."""
        return [file for group in self.input_groups for file in group]

    @property
    def total_bytes(self) -> int | None:
        """Size of all files; None if one of them is a pipe."""
        sizes = [file.size for file in self.files]
        return None if None in sizes else sum(size or 0 for size in sizes)


def plan(
    files: Sequence[FileInfo],
    manifest: Manifest,
    *,
    input_format: FileFormat | None = None,
    output_format: FileFormat | None = None,
    encoding: str | None = None,
    column: str | None = None,
    shard_rows: int = SHARD_ROWS,
    risk: float | None = None,
    explain: bool = False,
    shard_header: bool = True,
    file_column: bool = False,
) -> ScoringTask:
    """Plan the scoring of files.

    Args:
        files: At least one file. All have the same format and the same columns.
        manifest: Of the model.
        input_format: By default derived from the file names.
        output_format: By default the input format, or .csv for .txt.
        encoding: Of text files; None: UTF-8.
        column: The text column; by default the only column, or "text".
        shard_rows: Rows per shard.
        risk: Target error rate; None: the default of the model.
        explain: Whether to explain every prediction.
        shard_header: Whether every shard of a .csv or .tsv starts with the column names.
        file_column: Whether to add a column with the name of the input file.

    Raises:
        DatasetError: A file cannot be read, lacks the column or has other columns than the first.
    """
    first = files[0]
    input_format = input_format or _common_format(files)
    suffix = input_format.suffix
    output_format = output_format or (
        FileFormat(".csv", input_format.compressed) if suffix == ".txt" else input_format
    )
    if encoding and suffix == PARQUET:
        raise DatasetError(
            f"invalid encoding {encoding!r} for Parquet, which stores its own: remove --encoding",
            code="encoding-not-applicable",
        )
    is_pipe = first.size is None
    if is_pipe and suffix == ".jsonl" and output_format.suffix not in (".jsonl", ".txt"):
        raise DatasetError(
            f"{first.name}: a pipe of JSON Lines cannot be read ahead to find its keys: "
            "write a .jsonl file",
            code="unknown-columns",
        )
    names = () if is_pipe and suffix != ".txt" else columns.of(files, input_format, encoding)
    column = "text" if suffix == ".txt" else column
    added = (
        *(["file"] if file_column else []),
        *added_columns(manifest),
        *(EXPLAINED if explain else ()),
        "error",
    )
    is_parquet = suffix == output_format.suffix == PARQUET
    types = columns.types(first) if is_parquet else None
    return ScoringTask(
        input_groups=tuple(_input_groups(files)),
        input_format=input_format,
        encoding=encoding,
        column=column or "" if is_pipe else columns.choose(names, column, first),
        schema=OutputSchema(output_format, added, names, types),
        shard_rows=shard_rows,
        risk=risk,
        explain=explain,
        shard_header=shard_header,
        model_version=manifest.version,
    )


def with_columns_of(task: ScoringTask, rows: Sequence[Row]) -> ScoringTask:
    """Complete the task of a pipe with the columns of its first rows."""
    if task.schema.columns:
        return task
    names = tuple(dict.fromkeys(name for row in rows for name in row.values))
    task = replace(task, column=columns.choose(names, task.column or None, task.files[0]))
    if task.input_format.suffix == ".jsonl":
        return task
    return replace(task, schema=replace(task.schema, columns=names))


def _common_format(files: Sequence[FileInfo]) -> FileFormat:
    formats = {str(file_format): file_format for file_format in
               (file_format_of(file.name) for file in files)}  # fmt: skip
    if len(formats) > 1:
        raise DatasetError(
            f"files of several formats ({', '.join(sorted(formats))}): select one, for example "
            f"'folder/*{min(formats)}'",
            code="mixed-formats",
        )
    return next(iter(formats.values()))


def _input_groups(files: Sequence[FileInfo]) -> Iterator[tuple[FileInfo, ...]]:
    group: list[FileInfo] = []
    group_bytes = 0
    for file in files:
        if group and group_bytes + (file.size or 0) > _GROUP_BYTES:
            yield tuple(group)
            group, group_bytes = [], 0
        group.append(file)
        group_bytes += file.size or 0
    yield tuple(group)
