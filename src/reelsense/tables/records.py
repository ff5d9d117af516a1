"""Read the records of delimited text with Python's csv module, and recover from stray quotes.

A record that cannot be read costs only its first line: reading goes on at the next one. Does not
know columns.
"""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from reelsense.errors import DatasetError

Quoting = Literal["doubled", "backslash", "none"]

MAX_FIELD = 10_000_000  # characters; the default of the csv module is less than a long review

_MAX_REREAD = 50_000_000
"""Characters that may be read in vain after unclosed quotes, so that reading takes linear time.
Beyond it, a record has only one line."""

_ESCAPE = re.compile(r"\\(.?)")


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a table is written as text."""

    delimiter: str
    quoting: Quoting = "doubled"
    """How a quote is written inside a quoted field: "", \\", or there are no quoted fields."""

    def __post_init__(self) -> None:
        """Raise DatasetError if the delimiter is not a character that can separate columns."""
        if len(self.delimiter) != 1 or self.delimiter in '"\\\r\n\0 ':
            raise DatasetError(
                f"invalid delimiter {self.delimiter[:20]!r}: expected one character such as ;",
                code="invalid-delimiter",
            )

    def __str__(self) -> str:
        """Describe the dialect in words."""
        name = {",": "commas", ";": "semicolons", "\t": "tabs"}.get(
            self.delimiter, repr(self.delimiter)
        )
        quotes = {
            "doubled": "",
            "backslash": ", quotes escaped by a backslash",
            "none": ", no quoted fields",
        }
        return f"columns separated by {name}{quotes[self.quoting]}"

    def reader(self, lines: Iterable[str], *, strict: bool = True) -> Any:
        """Return a csv.reader of `lines`."""
        csv.field_size_limit(MAX_FIELD)
        if self.quoting == "none":
            return csv.reader(lines, delimiter=self.delimiter, quoting=csv.QUOTE_NONE)
        if self.quoting == "doubled":
            return csv.reader(lines, delimiter=self.delimiter, strict=strict)
        return csv.reader(
            map(self._escape_backslashes, lines),
            delimiter=self.delimiter,
            doublequote=False,
            escapechar="\\",
            strict=strict,
        )

    def _escape_backslashes(self, line: str) -> str:
        """Double the backslashes that escape nothing: the csv module would drop them."""
        if "\\" not in line:
            return line
        special = f'"\\\r\n{self.delimiter}'
        return _ESCAPE.sub(
            lambda match: match[0] if match[1] and match[1] in special else "\\" + match[0], line
        )


@dataclass(frozen=True, slots=True)
class Record:
    """The fields of a row."""

    line: int
    """The first line, counted from 1."""
    last_line: int
    fields: list[str]
    """Of a record with an error: as far as they can be told apart."""
    error: str | None = None


def read_records(
    lines: Iterable[str],
    dialect: Dialect,
    is_row: Callable[[list[str]], bool] | None = None,
    max_reread: int = _MAX_REREAD,
) -> Iterator[Record]:
    """Yield the records of `lines`, without blank lines.

    Args:
        lines: With their line ends.
        dialect: How they are written.
        is_row: Whether fields look like a row. If every line of a quoted field looks like one,
            the quotes do not quote but hide these rows.
        max_reread: Characters to read in vain before records are limited to one line.
    """
    source = _Lines(lines, max_reread)
    reader = dialect.reader(source)
    while True:
        error = None
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as csv_error:
            error = _reason(csv_error)
        if not error and is_row and source.hides_rows(dialect, is_row):
            error = f"a quote hides the rows up to line {source.number + len(source.taken)}"
        if error:
            [fields] = dialect.reader([source.taken[0]], strict=False)
            yield Record(source.number + 1, source.number + 1, fields, error)
            source.retry()
            continue
        if fields:
            yield Record(source.number + 1, source.number + len(source.taken), fields)
        source.accept()


class _Lines(Iterator[str]):
    """Lines of which the last ones can be returned."""

    def __init__(self, lines: Iterable[str], max_reread: int) -> None:
        self._lines = iter(lines)
        self._returned: deque[str] = deque()
        self._reread_left = max_reread
        self.taken: list[str] = []  # since the last record
        self.number = 0  # lines of complete records

    def __next__(self) -> str:
        if self.taken and self._reread_left < 0:
            raise StopIteration
        line = self._returned.popleft() if self._returned else next(self._lines)
        self.taken.append(line)
        return line

    def hides_rows(self, dialect: Dialect, is_row: Callable[[list[str]], bool]) -> bool:
        """Return whether each of several lines taken as one record looks like a row."""
        return len(self.taken) > 1 and all(
            is_row(line.rstrip("\r\n").split(dialect.delimiter)) for line in self.taken
        )

    def accept(self) -> None:
        """Go on after the lines taken."""
        self.number += len(self.taken)
        self.taken.clear()

    def retry(self) -> None:
        """Go on after the first of the lines taken."""
        again = self.taken[1:]
        self._reread_left -= sum(map(len, again))
        self._returned.extendleft(reversed(again))
        self.number += 1
        self.taken.clear()


def _reason(error: csv.Error) -> str:
    if "unexpected end" in str(error):
        return "unterminated quoted field"
    if "field larger" in str(error):
        return f"unterminated quoted field, or one of more than {MAX_FIELD:,} characters"
    if "expected after" in str(error):
        return "text after the closing quote of a field"
    return str(error)
