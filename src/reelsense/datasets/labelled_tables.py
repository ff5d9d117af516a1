"""Labelled reviews from delimited files and JSON Lines: a text column and a label column."""

from __future__ import annotations

import json
from pathlib import Path

from reelsense.datasets.reviews import Review
from reelsense.errors import DatasetError
from reelsense.tables.delimited import Row, rows, text_lines


def read_table(path: Path, text_column: str = "text", label_column: str = "label") -> list[Review]:
    """Read the reviews of a table in order. Rows with the same text form one group.

    Args:
        path: A .csv, .tsv or .jsonl file.
        text_column: Name of the column with the texts.
        label_column: Name of the column with the labels. A blank label means no label.

    Raises:
        DatasetError: The file cannot be read, or a row is invalid.
    """
    try:
        with path.open("rb") as raw, text_lines(raw) as file:
            table = rows(file, path.suffix.lower(), name=str(path))
            return [_review(row, path, text_column, label_column) for row in table]
    except OSError as error:
        raise DatasetError(f"cannot read {path}: {error.strerror}", code="unreadable") from error


def _review(row: Row, path: Path, text_column: str, label_column: str) -> Review:
    where = f"{path}, line {row.line}"
    if row.error:
        raise DatasetError(f"{where}: {row.error}")
    for column in (text_column, label_column):
        if column not in row.values:
            columns = ", ".join(row.values)
            raise DatasetError(
                f"{where}: no column {column!r} among {columns}: pass --text-column and "
                "--label-column",
                code="no-such-column",
            )
    text, label = row.values[text_column], row.values[label_column]
    if not isinstance(text, str):
        raise DatasetError(f"{where}: {text_column!r} is {json.dumps(text)[:40]}: expected a text")
    if not text.strip():
        raise DatasetError(f"{where}: {text_column!r} is blank")
    if not isinstance(label, str | int | None):
        raise DatasetError(
            f"{where}: {label_column!r} is {json.dumps(label)[:40]}: expected a label"
        )
    name = "" if label is None else str(label).strip()
    return Review(f"{path.name}:{row.line}", text, name or None, None, group=text)
