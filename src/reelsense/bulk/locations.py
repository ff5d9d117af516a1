"""The files that a run reads and writes: find them, and check that they go together."""

from __future__ import annotations

from collections.abc import Sequence

from reelsense.bulk.output import written
from reelsense.errors import DatasetError
from reelsense.tables import parquet, storage
from reelsense.tables.reading import PARQUET, STANDARD_INPUT, FileFormat, file_format_of, is_table
from reelsense.tables.storage import FileInfo


def check_locations(inputs: str, output: str | None, output_format: str | None) -> None:
    """Check formats and URLs before a model is loaded.

    Raises DatasetError or MissingExtraError.
    """
    if output == "":
        raise DatasetError("the output is blank: pass a file or a folder", code="blank-output")
    file_format = output_format_of(output, output_format)
    if file_format and file_format.suffix == PARQUET:
        parquet.imported()
    for address in (inputs, output):
        if address and not storage.is_local(address):
            storage.absolute(address)


def input_format_of(source: str, name: str | None) -> FileFormat | None:
    """Return the format of the input; None: derive it from the file names."""
    if name:
        return file_format_of(f"format .{name.lstrip('.')}")
    return FileFormat(".txt") if source == STANDARD_INPUT else None


def output_format_of(output: str | None, name: str | None) -> FileFormat | None:
    """Return the format of the output; None: derive it from the input."""
    requested = file_format_of(f"format .{name.lstrip('.')}") if name else None
    if output is None or storage.is_folder(output):
        return requested
    try:
        file_format = file_format_of(output)
    except DatasetError as error:
        raise DatasetError(
            f"{error}; to write a folder, end its name with /", code=error.code
        ) from None
    if requested not in (None, file_format):
        raise DatasetError(
            f"{output} does not have the format {requested}: omit the format, or pass a "
            "folder (name ends with /)",
            code="conflicting-formats",
        )
    return file_format


def check_stream(source: str, output: str | None, *, on_cluster: bool) -> None:
    """Check that `source` or `output`, one of which is a stream, can be used."""
    if on_cluster:
        raise DatasetError(
            "a cluster cannot read or write streams: pass files or folders as input and output",
            code="stream-on-cluster",
        )
    if output and storage.is_folder(output):
        raise DatasetError(
            f"{source} cannot be read again to resume a folder: pass a file as output",
            code="pipe-to-folder",
        )


def find_inputs(
    source: str, output: str | None, input_format: FileFormat | None = None
) -> tuple[list[FileInfo], list[str]]:
    """Return the files to score, and the names of those that are not tables.

    With `input_format`, all files are tables. Files that the output may overwrite are in neither.
    """
    if source == STANDARD_INPUT:
        return [FileInfo(STANDARD_INPUT, STANDARD_INPUT, None)], []
    own = written(output) if output else ()
    own_folders = tuple(address for address in own if address.endswith("/"))

    def is_output(file: FileInfo) -> bool:
        address = storage.absolute(file.address)
        return address in own or address.startswith(own_folders)

    all_files = storage.find_files(source)
    files = [file for file in all_files if not is_output(file)]
    if is_one_file(source, all_files):
        if not files:
            raise DatasetError(
                f"{source} would be overwritten: choose another output", code="output-is-input"
            )
        return files, []
    tables = [file for file in files if input_format or is_table(file.name)]
    if not tables:
        raise DatasetError(f"{source} contains no tables", code="no-tables")
    return tables, [file.name for file in files if file not in tables]


def is_one_file(source: str, files: Sequence[FileInfo]) -> bool:
    """Return whether the source is a file, not a folder or a pattern."""
    return len(files) == 1 and files[0].name == source
