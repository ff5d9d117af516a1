"""Rows of tables, and the names of their columns. Does not know how tables are stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from reelsense.errors import DatasetError

MAX_COLUMNS = 16_384  # as in Excel

# How tables write that there is no text or label.
BLANK = frozenset({"", "n/a", "#n/a", "na", "<na>", "nan", "null", "none"})

# Usual names of the column that contains the texts, the most likely first.
TEXT_COLUMNS = ("text", "review", "reviews", "body", "content", "comment", "sentence", "message")


_VALUE_SIZE = 50  # memory of a value apart from its characters


@dataclass(frozen=True, slots=True)
class Row:
    """A row: its values by column, or an error."""

    line: int  # the first line of the row, counted from 1; in Excel, Parquet and arrays its number
    values: dict[str, object]
    error: str | None = None
    file: str | None = None  # if rows of several files are combined

    @property
    def size(self) -> int:
        """Approximate memory of the values, in characters."""
        return sum(_VALUE_SIZE + _length(value) for value in self.values.values())


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a table."""

    header: tuple[str, ...]
    """As they are written: names may be blank or occur twice."""

    @property
    def names(self) -> tuple[str, ...]:
        """A different name for each column, the keys of `Row.values`."""
        return _unique(self.header)

    def choose(self, column: str | None, table: str, flag: str = "--column") -> str:
        """Return the name of a column, by default of that with the texts.

        Args:
            column: A name as in the header, the number of a column, counted from 1, or None: the
                only column, or the one with the most usual name.
            table: Name of the table, for errors.
            flag: The option that chooses the column, for errors.

        Raises:
            DatasetError: The table has no such column, or several.
        """
        names = self.names
        if column is None:
            if len(names) == 1:
                return names[0]
            for usual in TEXT_COLUMNS:
                if matches := self._named(usual, _normal):
                    return self._only(matches, usual, table, flag)
            raise self._not_found("no column is called text or review", table, flag)
        if matches := self._named(column, str) or self._named(column, _normal):
            return self._only(matches, column, table, flag)
        if column in names:
            return column
        if column.isdecimal() and 0 < int(column) <= len(names):
            return names[int(column) - 1]
        raise self._not_found(f"no column {column[:100]!r}", table, flag)

    def _named(self, column: str, normal: Callable[[str], str]) -> list[str]:
        titles = zip(self.names, self.header, strict=True)
        return [name for name, title in titles if normal(title) == normal(column)]

    def _only(self, matches: Sequence[str], column: str, table: str, flag: str) -> str:
        if len(matches) == 1:
            return matches[0]
        numbers = [str(self.names.index(name) + 1) for name in matches]
        raise DatasetError(
            f"{table}: several columns are called {column!r}: pass a number, {flag} "
            f"{' or '.join(numbers)}",
            code="ambiguous-column",
        )

    def _not_found(self, problem: str, table: str, flag: str) -> DatasetError:
        advice = f"pass {flag}, one of {quoted(self.names)}" if self.names else "it has no columns"
        return DatasetError(f"{table}: {problem}; {advice}", code="no-such-column")


@lru_cache(16)  # used for every row
def _unique(header: tuple[str, ...]) -> tuple[str, ...]:
    titles = set(header)
    names: dict[str, None] = {}
    last_number: Counter[str] = Counter(titles)  # each 1; kept so that this takes linear time
    for number, title in enumerate(header, start=1):
        name = first = title or f"column {number}"
        while name in names or (name != title and name in titles):
            last_number[first] += 1
            name = f"{first} ({last_number[first]})"
        names[name] = None
    return tuple(names)


def _length(value: object) -> int:
    if isinstance(value, str | bytes):
        return len(value)
    return len(repr(value)) if isinstance(value, dict | list) else 0


def _normal(title: str) -> str:
    return " ".join(title.split()).casefold()  # pages show line breaks as spaces


def value_of(row: Row, column: str) -> object:
    """Return the value in a column; a path such as review.text finds nested values.

    Raises KeyError if there is none.
    """
    if column in row.values:
        return row.values[column]
    value: object = row.values
    for key in column.split("."):
        if not isinstance(value, dict):
            raise KeyError(column)
        value = value[key]
    return value


def row_text(row: Row, column: str) -> str:
    """Return the text of a row; blank if it has none."""
    try:
        value = value_of(row, column)
    except KeyError:
        return ""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value if isinstance(value, str) else ""


def quoted(names: Sequence[str]) -> str:
    """Return the first names for a message."""
    text = ", ".join(repr(name[:100]) for name in names[:20])
    return f"{text}, ..." if len(names) > 20 else text
