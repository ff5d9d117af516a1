"""A random sample of the texts in files."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from reelsense.bulk.locations import check_locations, find_inputs, input_format_of
from reelsense.bulk.plan import plan
from reelsense.bulk.rows import row_error
from reelsense.bundle import Manifest
from reelsense.errors import DatasetError
from reelsense.tables.reading import FileFormat, ReadOptions, open_table
from reelsense.tables.row import row_text


def sample_texts(
    source: str,
    manifest: Manifest,
    size: int,
    *,
    column: str | None = None,
    options: ReadOptions | None = None,
    on_message: Callable[[str], object] = lambda _: None,
) -> list[str]:
    """Return at most `size` texts of `source`, which is as for `score_files`.

    The same files give the same sample. `on_message` is called with what the user should know about
    the files. Raises DatasetError if a file cannot be read or lacks the column.
    """
    options = options or ReadOptions(input_format_of(source, None))
    check_locations(source, None, None)
    files, _ = find_inputs(source, None, options.input_format)
    task, messages = plan(
        files, manifest, options=options, output_format=FileFormat(".jsonl"), column=column
    )
    if not task.column:
        raise DatasetError(
            "a table cannot be read from standard input here: pass a file", code="table-from-pipe"
        )
    texts: list[str] = []
    random, count, bad_rows = Random(0), 0, 0
    for file in task.files:
        with open_table(file, task.options) as table:
            for row, _ in table.rows:
                if row_error(row, task.column):
                    bad_rows += 1
                    continue
                count += 1
                if len(texts) < size:
                    texts.append(row_text(row, task.column))
                elif (position := random.randrange(count)) < size:
                    texts[position] = row_text(row, task.column)
    if bad_rows:
        messages.append(f"{source}: skipped {bad_rows:,} rows without a usable text")
    for message in messages:
        on_message(message)
    return texts
