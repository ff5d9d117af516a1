"""The columns of files that are scored together: which there are, and which holds the texts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from reelsense.errors import DatasetError
from reelsense.tables import parquet, storage
from reelsense.tables.reading import FileFormat, columns, reading
from reelsense.tables.storage import FileInfo

_KEYS_FROM = 1000
"""Rows of .jsonl that say which columns there are."""

_LOOKED_AT = 100
"""Files whose columns are looked at before anything is scored."""


def of(found: Sequence[FileInfo], kind: FileFormat, encoding: str | None) -> tuple[str, ...]:
    """Return the columns of the files `found`; none if there is nothing in them.

    Raises DatasetError if they are not the same in all of them, or one cannot be read.
    """
    if kind.suffix == ".txt":
        return ("text",)
    if kind.suffix == ".jsonl":
        return _keys(found, kind, encoding)
    names: tuple[str, ...] = ()
    for each in found[:_LOOKED_AT]:
        here = columns(each, kind, encoding)
        if names and here:
            check_same(here, names, each, found[0])
        names = names or here
    return names


def _keys(found: Sequence[FileInfo], kind: FileFormat, encoding: str | None) -> tuple[str, ...]:
    names: dict[str, None] = {}
    left = _KEYS_FROM
    for each in found[:_LOOKED_AT]:
        with reading(each, kind, encoding) as table:
            for row in islice(table.rows, left):
                names |= dict.fromkeys(row.values)
                left -= 1
        if not left:
            break
    return tuple(names)


def check_same(
    here: tuple[str, ...], names: tuple[str, ...], found: FileInfo, first: FileInfo
) -> None:
    """Raise DatasetError if `found` has other columns than those of the `first` file, `names`."""
    if here != names:
        raise DatasetError(f"{found.name} has other columns than {first.name}: {_quoted(here)}")


def evident(names: Sequence[str]) -> str:
    """Return the column of the texts where nobody says which it is."""
    return names[0] if len(names) == 1 else "text"


def chosen(names: Sequence[str], column: str | None, found: FileInfo) -> str:
    """Return the column of the texts, `column` or the evident one of `names`.

    Raises DatasetError, which speaks of the file `found`, if it is none of them.
    """
    column = evident(names) if column is None else column
    if names and column not in names:  # there is something in it, and not all rows are no JSON
        raise DatasetError(
            f"{found.name}: no column {column!r}; pass --column, one of {_quoted(names)}"
        )
    return column


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))


def types(found: FileInfo) -> object:
    """Return the columns of the Parquet file `found` with their types."""
    with storage.reading(found.address) as file:
        return parquet.schema(file, found.name)
