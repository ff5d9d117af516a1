"""Read tables of texts, row by row: .csv, .tsv, .jsonl, and .txt with one text a line.

Knows files, columns and what can be wrong with a row. Knows neither labels' meaning nor models.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from reelsense.datasets.reviews import Review
from reelsense.errors import DatasetError

SUFFIXES = (".csv", ".tsv", ".jsonl", ".txt")

_LONGEST_FIELD = 100_000_000
"""Characters. The csv module's own limit (131,072) is less than a long review can have."""

_UNDECODED = re.compile(r"[\udc80-\udcff]")
"""What is left of bytes that were no UTF-8, when read with errors="surrogateescape"."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its values by column, and what is wrong with it, if anything is."""

    line: int
    """Counted from 1; for a row that spans several lines, the last of them."""
    values: dict[str, object]
    error: str | None = None


def read_table(path: Path, text_column: str = "text", label_column: str = "label") -> list[Review]:
    """Read the labelled texts of `path`, in order. A blank label makes an unlabelled review.

    Rows of the same text form one group. Raises DatasetError naming file, line and column.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            return [
                _review(row, path, text_column, label_column) for row in rows(file, path.suffix)
            ]
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}") from error


def rows(lines: Iterable[str], suffix: str) -> Iterator[Row]:
    """Yield the rows of `lines`, a table of the kind `suffix` says, one by one.

    A row that cannot be read is yielded with its error. `lines` should be opened with
    errors="surrogateescape", so that a row of other bytes than UTF-8 is an error of that row.
    Raises DatasetError for an unknown suffix, and for csv quotes that are never closed.
    """
    readers = {".csv": _csv, ".tsv": _tsv, ".jsonl": _json_lines, ".txt": _text_lines}
    if suffix not in readers:
        raise DatasetError(f"{suffix or 'a name without suffix'}: not one of {', '.join(SUFFIXES)}")
    for row in readers[suffix](lines):
        undecoded = row.error is None and any(
            isinstance(value, str) and _UNDECODED.search(value) for value in row.values.values()
        )
        yield Row(row.line, row.values, "not UTF-8 text") if undecoded else row


def _review(row: Row, path: Path, text_column: str, label_column: str) -> Review:
    where = f"{path}, line {row.line}"
    if row.error:
        raise DatasetError(f"{where}: {row.error}")
    for column in (text_column, label_column):
        if column not in row.values:
            raise DatasetError(f"{where}: no column {column!r}; there are {', '.join(row.values)}")
    text, label = str(row.values[text_column]), str(row.values[label_column]).strip()
    if not text.strip():
        raise DatasetError(f"{where}: {text_column!r} is blank")
    return Review(f"{path.name}:{row.line}", text, label or None, None, group=text)


def _csv(lines: Iterable[str], delimiter: str = ",") -> Iterator[Row]:
    csv.field_size_limit(_LONGEST_FIELD)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        header = next(reader, [])
        for fields in reader:
            if not fields:
                continue
            values: dict[str, object] = dict.fromkeys(header, "")
            values.update(zip(header, fields, strict=False))
            if len(fields) == len(header):
                yield Row(reader.line_num, values)
            else:
                wrong = f"{len(fields)} fields where the first line has {len(header)}"
                yield Row(reader.line_num, values, wrong)
    except csv.Error as error:
        raise DatasetError(f"line {reader.line_num}: {error}") from error


def _tsv(lines: Iterable[str]) -> Iterator[Row]:
    return _csv(lines, delimiter="\t")


def _json_lines(lines: Iterable[str]) -> Iterator[Row]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield Row(number, {}, f"line {number} is not JSON: {error}")
            continue
        if isinstance(values, dict):
            yield Row(number, values)
        else:
            yield Row(number, {}, f"line {number} is not a JSON object")


def _text_lines(lines: Iterable[str]) -> Iterator[Row]:
    for number, line in enumerate(lines, start=1):
        yield Row(number, {"text": line.rstrip("\r\n")})
