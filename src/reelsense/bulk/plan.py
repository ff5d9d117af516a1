"""Plan how files are scored: formats, columns, and groups of files that become shards.

Does not know where the results are stored or which process scores them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from reelsense.bulk.rows import EXPLAINED, added_columns
from reelsense.bundle import Manifest
from reelsense.errors import DatasetError
from reelsense.tables import parquet, storage
from reelsense.tables.delimited import Row
from reelsense.tables.reading import PARQUET, FileFormat, columns, file_format_of, read_rows
from reelsense.tables.storage import FileInfo
from reelsense.tables.writing import OutputSchema

SHARD_ROWS = 2048  # by default: about 30 seconds of full reviews on two cores

_GROUP_BYTES = 16 * 2**20  # small files are grouped up to this size
_JSONL_ROWS = 1000  # rows of JSON Lines that are read to find the columns
_MAX_FILES = 100  # files whose columns are checked before scoring; the others are checked when read


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoringTask:
    """Everything that determines the output of a run, on any machine."""

    input_groups: tuple[tuple[FileInfo, ...], ...]  # files of a group are cut into shards together
    input_format: FileFormat
    encoding: str | None  # of text files; None: UTF-8
    column: str  # contains the texts; blank for a pipe until its first rows have been read
    schema: OutputSchema
    shard_rows: int
    risk: float | None
    explain: bool
    shard_header: bool  # whether every shard of a .csv or .tsv starts with the column names
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
    """Plan the scoring of `files`, at least one, with the model of `manifest`.

    By default, the formats follow from the file names. `file_column` adds a column with the name of
    the input file. Raises DatasetError if a file cannot be read, lacks the text column, or has
    another format or other columns than the first.
    """
    first = files[0]
    is_pipe = first.size is None
    input_format = input_format or _common_format(files)
    is_text = input_format.suffix == ".txt"
    if output_format is None:
        output_format = FileFormat(".csv", input_format.compressed) if is_text else input_format
    _check_formats(input_format, output_format, encoding, first)
    names = () if is_pipe and not is_text else _common_columns(files, input_format, encoding)
    column = "text" if is_text else column
    added = (
        *(["file"] if file_column else []),
        *added_columns(manifest),
        *(EXPLAINED if explain else ()),
        "error",
    )
    is_parquet = input_format.suffix == output_format.suffix == PARQUET
    types = _arrow_schema(first) if is_parquet else None
    return ScoringTask(
        input_groups=tuple(_input_groups(files)),
        input_format=input_format,
        encoding=encoding,
        column=column or "" if is_pipe else _text_column(names, column, first),
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
    task = replace(task, column=_text_column(names, task.column or None, task.files[0]))
    if task.input_format.suffix == ".jsonl":
        return task
    return replace(task, schema=replace(task.schema, columns=names))


def check_columns(names: tuple[str, ...], file: FileInfo, task: ScoringTask) -> None:
    """Raise DatasetError unless `names`, the columns of `file`, are those of the task."""
    if task.input_format.suffix != ".jsonl" and task.schema.columns:
        _check_same(names, file, task.schema.columns, task.files[0])


def default_text_column(names: Sequence[str]) -> str:
    """Return the only column, or "text"."""
    return names[0] if len(names) == 1 else "text"


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


def _check_formats(
    input_format: FileFormat, output_format: FileFormat, encoding: str | None, first: FileInfo
) -> None:
    if encoding and input_format.suffix == PARQUET:
        raise DatasetError(
            "--encoding does not apply to Parquet files: remove it", code="encoding-not-applicable"
        )
    is_jsonl_pipe = first.size is None and input_format.suffix == ".jsonl"
    if is_jsonl_pipe and output_format.suffix not in (".jsonl", ".txt"):
        raise DatasetError(
            f"{first.name}: JSON Lines from a pipe can only be written as .jsonl or .txt: choose "
            "such an output, or save the input to a file",
            code="unknown-columns",
        )


def _common_columns(
    files: Sequence[FileInfo], file_format: FileFormat, encoding: str | None
) -> tuple[str, ...]:
    """Return the columns that all `files` have; none if the files are empty."""
    if file_format.suffix == ".txt":
        return ("text",)
    if file_format.suffix == ".jsonl":
        return _jsonl_keys(files, file_format, encoding)
    names: tuple[str, ...] = ()
    for file in files[:_MAX_FILES]:
        file_names = columns(file, file_format, encoding)
        if names and file_names:
            _check_same(file_names, file, names, files[0])
        names = names or file_names
    return names


def _jsonl_keys(
    files: Sequence[FileInfo], file_format: FileFormat, encoding: str | None
) -> tuple[str, ...]:
    rows = (row for file in files[:_MAX_FILES] for row, _ in read_rows(file, file_format, encoding))
    return tuple(dict.fromkeys(name for row in islice(rows, _JSONL_ROWS) for name in row.values))


def _check_same(
    names: tuple[str, ...], file: FileInfo, expected: tuple[str, ...], first: FileInfo
) -> None:
    if names != expected:
        raise DatasetError(
            f"{file.name} has other columns than {first.name}: {_quoted(names)}; "
            f"expected {_quoted(expected)}",
            code="different-columns",
        )


def _text_column(names: Sequence[str], column: str | None, file: FileInfo) -> str:
    """Return `column`, or the default for the columns `names` of `file`."""
    column = default_text_column(names) if column is None else column
    if names and column not in names:  # no names: the file is empty or has no valid row
        raise DatasetError(
            f"{file.name}: no column {column!r}; pass --column, one of {_quoted(names)}",
            code="no-such-column",
        )
    return column


def _arrow_schema(file: FileInfo) -> object:
    with storage.open_file(file.address) as raw:
        return parquet.schema(raw, file.name)


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))


def _input_groups(files: Sequence[FileInfo]) -> Iterator[tuple[FileInfo, ...]]:
    """Group small files; a larger file is a group by itself."""
    group: list[FileInfo] = []
    group_bytes = 0
    for file in files:
        if group and group_bytes + (file.size or 0) > _GROUP_BYTES:
            yield tuple(group)
            group, group_bytes = [], 0
        group.append(file)
        group_bytes += file.size or 0
    yield tuple(group)
