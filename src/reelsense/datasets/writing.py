"""Write tables row by row, with columns added: .csv, .tsv, .jsonl.

Knows files and columns; does not know what is in the columns.
"""

from __future__ import annotations

import csv
import json
from typing import IO, Protocol

from reelsense.datasets.tables import Row
from reelsense.review import LONE_SURROGATE

KINDS = (".csv", ".tsv", ".jsonl")


class Writer(Protocol):
    """Writes rows."""

    def write(self, row: Row, added: dict[str, object]) -> None:
        """Write `row` with what is `added`.

        Where the row has a column of that name already, ours is called predicted_label and so on.
        """


def writer(file: IO[str], kind: str) -> Writer:
    """Return what writes a table of the `kind` to `file`, one of KINDS."""
    return _Json(file) if kind == ".jsonl" else _Csv(file, "\t" if kind == ".tsv" else ",")


class _Json:
    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, row: Row, added: dict[str, object]) -> None:
        present = {name: value for name, value in added.items() if value is not None}
        line = json.dumps(row.values | _renamed(present, row.values), ensure_ascii=False)
        if LONE_SURROGATE.search(line):  # no UTF-8 can carry these; JSON's escapes can
            line = json.dumps(json.loads(line))
        self._file.write(line + "\n")


class _Csv:
    """The first row decides the columns."""

    def __init__(self, file: IO[str], delimiter: str) -> None:
        self._file, self._delimiter = file, delimiter
        self._writer: csv.DictWriter[str] | None = None

    def write(self, row: Row, added: dict[str, object]) -> None:
        if self._writer is None:
            columns = [*row.values, *_renamed(added, row.values)]
            self._columns = dict(zip(added, columns[len(row.values) :], strict=True))
            self._writer = csv.DictWriter(self._file, columns, delimiter=self._delimiter)
            self._writer.writeheader()
        answers = {self._columns[name]: _cell(value) for name, value in added.items()}
        values = {name: _cell(str(value)) for name, value in row.values.items()}
        self._writer.writerow(values | answers)


def _cell(value: object) -> object:
    """What a table holds of `value`."""
    if isinstance(value, dict):
        return json.dumps(value)
    return LONE_SURROGATE.sub("\ufffd", value) if isinstance(value, str) else value


def _renamed(added: dict[str, object], taken: dict[str, object]) -> dict[str, object]:
    return {_free_name(name, taken): value for name, value in added.items()}


def _free_name(name: str, taken: dict[str, object]) -> str:
    return _free_name(f"predicted_{name}", taken) if name in taken else name
