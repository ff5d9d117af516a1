"""The columns of a table besides its texts, encoded so that rows can be grouped by their values."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from reelsense.tables.row import Row
from reelsense.tables.writing import as_string
from reelsense.text.clean import printable

MAX_COLUMNS = 50  # that can be grouped: the first ones
MAX_VALUES = 50_000  # different values of a column that can be grouped
MAX_VALUE = 200  # characters of such a value; longer ones are truncated
_MAX_ALL_VALUES = 200_000  # of all columns of a table, to limit memory
_MIN_REPEATED = 0.1  # share of the rows that repeat a value: fewer in columns of ids and texts
_FEW_VALUES = 100  # a column with at most as many values can always be grouped
_MIN_TYPED = 0.9  # share of the values that are dates or numbers

_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:?\d\d")
_DATE = re.compile(r"(\d{4})[-/.](\d{1,2})(?:[-/.](\d{1,2}))?")
_STAR_NAMES = {"star", "stars", "rating", "ratings", "starrating", "userrating", "userstars"}
_STAR_SCALES = (5, 10, 100)  # highest ratings

Kind = Literal["", "date", "stars", "unique"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its different values, and the index of the value of each row."""

    name: str
    kind: Kind  # what its values are; unique: all different; blank: any others
    values: Sequence[str]  # the first one is blank
    codes: NDArray[np.int32]  # (rows)

    def has_value(self, value: str) -> NDArray[np.bool_]:
        """Return which rows have a value."""
        if value not in self.values:
            return np.zeros(len(self.codes), bool)
        return np.equal(self.codes, self.values.index(value))

    @property
    def dates(self) -> list[date | None]:
        """The date of each value; that of a month is its first day."""
        return list(map(parsed_date, self.values))

    def stars_of(self, rows: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return the ratings in some rows, from 0 to 10; NaN: not a number."""
        numbers = np.array(list(map(_number, self.values)))
        highest = np.max(numbers, initial=0.0, where=~np.isnan(numbers))
        scale = next(scale for scale in _STAR_SCALES if highest <= scale)
        return (numbers * 10 / scale)[self.codes[rows]]


@dataclass(slots=True)
class _Values:
    """The values of a column so far."""

    numbers: dict[str, int] = field(default_factory=lambda: {"": 0})
    codes: array[int] = field(default_factory=lambda: array("i"))


class ColumnEncoder:
    """Encodes the columns of the rows of a table, except the one with the texts.

    Drops columns with too many different values, such as ids.
    """

    def __init__(self, text_column: str) -> None:
        self._text_column = text_column
        self._columns: dict[str, _Values | None] = {}  # None: too many values
        self._rows = self._all_values = 0

    def add(self, row: Row) -> None:
        """Add the next row."""
        for name, cell in other_cells(row, self._text_column).items():
            if name not in self._columns and len(self._columns) < MAX_COLUMNS:
                self._columns[name] = _Values()
            column = self._columns.get(name)
            if column is None:
                continue
            _pad(column.codes, self._rows)
            text = group_value(cell)
            known = len(column.numbers)
            column.codes.append(column.numbers.setdefault(text, known))
            if len(column.numbers) > known and not self._has_room(column):
                self._columns[name] = None
                self._all_values -= len(column.numbers) - 1
        self._rows += 1

    def _has_room(self, column: _Values) -> bool:
        self._all_values += 1
        return len(column.numbers) <= MAX_VALUES and self._all_values <= _MAX_ALL_VALUES

    def columns(self) -> Iterator[Column]:
        """Yield the columns that can be grouped."""
        for name, column in self._columns.items():
            if column is None:
                continue
            _pad(column.codes, self._rows)
            codes = np.array(column.codes, np.int32)
            kept = int(np.count_nonzero(codes)) * (1 - _MIN_REPEATED)
            if 1 < len(column.numbers) <= max(_FEW_VALUES, kept):
                values = list(column.numbers)
                yield Column(name, _kind(name, values, codes), values, codes)


def _pad(codes: array[int], rows: int) -> None:
    if missing := rows - len(codes):
        codes.frombytes(bytes(missing * codes.itemsize))


def group_value(cell: str) -> str:
    """Return the name of the group of a cell: its content without spaces around it, or the time."""
    text = cell.strip()
    return text[:10] if _TIMESTAMP.match(text) else text[:MAX_VALUE]


def other_cells(row: Row, text_column: str) -> dict[str, str]:
    """Return the cells of a row besides its text, as strings that UTF-8 can encode."""
    return {
        printable(name): printable(as_string(value))
        for name, value in row.values.items()
        if name != text_column
    }


def default_group(columns: Iterable[tuple[str, Kind]]) -> str | None:
    """Return the name of the column to group by, given the names and kinds of the columns.

    The first one with any values that repeat, else any column. None: no columns.
    """
    kinds = dict(columns)
    return next((name for name in kinds if not kinds[name]), next(iter(kinds), None))


def first_of_kind(kinds: Mapping[str, Kind], kind: Kind) -> str | None:
    """Return the first column of a kind; None: the table has none."""
    return next((name for name in kinds if kinds[name] == kind), None)


def parsed_date(text: str) -> date | None:
    """Return the date that begins with the year, as in 2026-11-30, 2026/11 or 2026.11.30."""
    match = _DATE.fullmatch(text)
    if not match:
        return None
    year, month, day = (int(part or 1) for part in match.groups())
    try:
        return date(year, month, day)
    except ValueError:
        return None


def _kind(name: str, values: Sequence[str], codes: NDArray[np.int32]) -> Kind:
    counts = np.bincount(codes, minlength=len(values))

    def are_mostly(flags: Iterable[bool]) -> bool:
        typed = counts[1:][np.fromiter(flags, bool)].sum()
        return bool(typed >= _MIN_TYPED * counts[1:].sum())

    if are_mostly(parsed_date(value) is not None for value in values[1:]):
        return "date"
    is_named = re.sub(r"[\W_]", "", name).casefold() in _STAR_NAMES
    if is_named and are_mostly(_number(value) == _number(value) for value in values[1:]):
        return "stars"
    return "unique" if counts[1:].max() == 1 else ""


def _number(text: str) -> float:
    """Return a rating; NaN: `text` is not one."""
    try:
        number = float(text.replace(",", "."))
    except ValueError:
        return float("nan")
    return number if 0 <= number <= _STAR_SCALES[-1] else float("nan")
