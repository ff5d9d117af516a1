"""Plan how files are scored: formats, columns, and groups of files that become shards.

Does not know where the results are stored or which process scores them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from reelsense.bulk.rows import EXPLAINED, added_columns
from reelsense.bundle import Manifest
from reelsense.errors import DatasetError
from reelsense.tables import parquet, storage
from reelsense.tables.reading import (
    EXCEL,
    JSON,
    PARQUET,
    FileFormat,
    ReadOptions,
    file_format_of,
    open_table,
)
from reelsense.tables.row import Columns, Row, quoted
from reelsense.tables.storage import FileInfo
from reelsense.tables.writing import OutputSchema

SHARD_ROWS = 2048  # by default: about 30 seconds of full reviews on two cores

_GROUP_BYTES = 16 * 2**20  # small files are grouped up to this size
_JSON_ROWS = 1000  # rows of JSON that are read to find the columns
_MAX_FILES = 100  # files whose columns are checked before scoring; the others are checked when read


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoringTask:
    """Everything that determines the output of a run, on any machine."""

    input_groups: tuple[tuple[FileInfo, ...], ...]  # files of a group are cut into shards together
    options: ReadOptions  # with the format of the files
    column: str  # contains the texts; blank for a pipe until its first rows have been read
    schema: OutputSchema
    shard_rows: int
    risk: float | None
    explain: bool
    shard_header: bool  # whether every shard of a .csv or .tsv starts with the column names
    model_version: str
    dialects: dict[str, str]  # how delimited files are written, by name

    @property
    def input_suffix(self) -> str:
        """The format of the files."""
        return self.options.input_format.suffix if self.options.input_format else ""

    @property
    def files(self) -> list[FileInfo]:
        """All input files, in order."""
        return [file for group in self.input_groups for file in group]

    @property
    def total_bytes(self) -> int | None:
        """Size of all files; None if one of them is a pipe."""
        sizes = [file.size for file in self.files]
        return None if None in sizes else sum(size or 0 for size in sizes)


@dataclass(frozen=True, slots=True)
class _Content:
    """The columns and dialects of the files, from their first rows."""

    columns: Columns = field(default_factory=lambda: Columns(()))
    types: object = None  # Arrow schema of the rows, for an output in Parquet
    dialects: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def plan(
    files: Sequence[FileInfo],
    manifest: Manifest,
    *,
    options: ReadOptions | None = None,
    output_format: FileFormat | None = None,
    column: str | None = None,
    shard_rows: int = SHARD_ROWS,
    risk: float | None = None,
    explain: bool = False,
    shard_header: bool = True,
    file_column: bool = False,
) -> tuple[ScoringTask, list[str]]:
    """Plan the scoring of `files`, at least one, with the model of `manifest`.

    By default, the formats follow from the file names. `file_column` adds a column with the name of
    the input file. Returns the task, and what the user should know about the files. Raises
    DatasetError if a file cannot be read, lacks the text column, or has another format or other
    columns than the first.
    """
    first = files[0]
    is_pipe = first.size is None
    options = options or ReadOptions()
    input_format = options.input_format or _common_format(files)
    options = replace(options, input_format=input_format)
    output_format = output_format or _output_format(input_format)
    _check_formats(input_format, output_format, options, first)
    is_text = input_format.suffix == ".txt"
    if is_text:
        content = _Content(Columns(("text",)))
    else:
        content = _Content() if is_pipe else _content(files, options, output_format)
    if is_pipe and not is_text:
        text_column = column or ""
    else:
        text_column = _text_column(content.columns, column, first, input_format)
    names = content.columns.names
    added = (
        *(["file"] if file_column else []),
        *added_columns(manifest),
        *(EXPLAINED if explain else ()),
        "error",
    )
    task = ScoringTask(
        input_groups=tuple(_input_groups(files)),
        options=options,
        column=text_column,
        schema=OutputSchema(output_format, added, names, content.types, content.columns.header),
        shard_rows=shard_rows,
        risk=risk,
        explain=explain,
        shard_header=shard_header,
        model_version=manifest.version,
        dialects=content.dialects,
    )
    return task, [*_described(content.dialects), *content.warnings]


def with_columns_of(task: ScoringTask, rows: Sequence[Row]) -> ScoringTask:
    """Complete the task of a pipe with the columns of its first rows."""
    if task.schema.columns:
        return task
    names = tuple(dict.fromkeys(name for row in rows for name in row.values))
    input_format = task.options.input_format or FileFormat(".txt")
    column = _text_column(Columns(names), task.column or None, task.files[0], input_format)
    task = replace(task, column=column)
    if task.input_suffix in JSON:
        return task
    return replace(task, schema=replace(task.schema, columns=names, header=names))


def check_columns(columns: Columns | None, file: FileInfo, task: ScoringTask) -> None:
    """Raise DatasetError unless the columns of `file` are those of the task, in any order."""
    if columns and columns.header and task.schema.columns:
        _check_same(columns, file, Columns(task.schema.header), task.files[0])


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


def _output_format(input_format: FileFormat) -> FileFormat:
    """Return the format in which results are written by default."""
    others = {".txt": ".csv", EXCEL: ".csv", ".json": ".jsonl"}
    suffix = others.get(input_format.suffix, input_format.suffix)
    return FileFormat(suffix, input_format.compressed)


def _check_formats(
    input_format: FileFormat, output_format: FileFormat, options: ReadOptions, first: FileInfo
) -> None:
    if options.encoding and input_format.suffix in (PARQUET, EXCEL):
        raise DatasetError(
            f"--encoding does not apply to {input_format} files: remove it",
            code="encoding-not-applicable",
        )
    if output_format.suffix in (EXCEL, ".json"):
        other = ".csv" if output_format.suffix == EXCEL else ".jsonl"
        raise DatasetError(
            f"results cannot be written as {output_format}: write {other}",
            code="unwritable-format",
        )
    is_json_pipe = first.size is None and input_format.suffix in JSON
    if is_json_pipe and output_format.suffix not in (".jsonl", ".txt"):
        raise DatasetError(
            f"{first.name}: JSON from a pipe can only be written as .jsonl or .txt: choose such an "
            "output, or save the input to a file",
            code="unknown-columns",
        )


def _content(
    files: Sequence[FileInfo], options: ReadOptions, output_format: FileFormat
) -> _Content:
    """Read the first rows of the files. If all files are empty, they have no columns."""
    input_format = options.input_format
    if input_format and input_format.suffix in JSON:
        rows = list(islice(_all_rows(files[:_MAX_FILES], options), _JSON_ROWS))
        names = tuple(dict.fromkeys(name for row in rows for name in row.values))
        types = None
        if output_format.suffix == PARQUET:
            types = parquet.inferred([row.values for row in rows if not row.error], names)
        return _Content(Columns(names), types)
    columns = Columns(())
    dialects, warnings = {}, []
    for file in files[:_MAX_FILES]:
        with open_table(file, options) as table:
            found = table.columns or Columns(())
            if table.dialect:
                dialects[file.name] = table.dialect
            if table.warning:
                warnings.append(f"{file.name}: {table.warning}")
        if columns.header and found.header:
            _check_same(found, file, columns, files[0])
        columns = columns if columns.header else found
    is_parquet = input_format and input_format.suffix == output_format.suffix == PARQUET
    types = _arrow_schema(files[0]) if is_parquet else None
    return _Content(columns, types, dialects, tuple(warnings))


def _all_rows(files: Sequence[FileInfo], options: ReadOptions) -> Iterator[Row]:
    for file in files:
        with open_table(file, options) as table:
            yield from (row for row, _ in table.rows)


def _described(dialects: dict[str, str]) -> list[str]:
    """Return a sentence for each dialect."""
    files: dict[str, list[str]] = {}
    for name, dialect in dialects.items():
        files.setdefault(dialect, []).append(name)
    return [
        f"{names[0] if len(names) == 1 else f'{len(names):,} files'}: {dialect}"
        for dialect, names in files.items()
    ]


def _check_same(columns: Columns, file: FileInfo, expected: Columns, first: FileInfo) -> None:
    if sorted(columns.header) != sorted(expected.header):
        raise DatasetError(
            f"{file.name} has other columns than {first.name}: {quoted(columns.names)}; "
            f"expected {quoted(expected.names)}",
            code="different-columns",
        )


def _text_column(
    columns: Columns, column: str | None, file: FileInfo, file_format: FileFormat
) -> str:
    if file_format.suffix == ".txt":
        return "text"
    if not columns.header:  # the file is empty or has no valid row
        return column or "text"
    if column and file_format.suffix in JSON and column.split(".")[0] in columns.names:
        return column  # perhaps a path to a nested value
    return columns.choose(column, file.name)


def _arrow_schema(file: FileInfo) -> object:
    with storage.open_file(file.address) as raw:
        return parquet.schema(raw, file.name)


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
