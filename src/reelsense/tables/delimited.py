"""Read tables of texts, row by row: .csv, .tsv, .jsonl, and .txt with one text a line.

The columns of a .csv are parted by commas or, where its first line has none, by ; or tabs.

Knows files, columns and what can be wrong with a row. Knows neither labels' meaning nor models.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from encodings import aliases, normalize_encoding
from io import TextIOWrapper
from itertools import chain, islice
from typing import IO, TYPE_CHECKING

from reelsense.errors import DatasetError

if TYPE_CHECKING:
    from _csv import Reader

SUFFIXES = (".csv", ".tsv", ".jsonl", ".txt")

_LONGEST_FIELD = 100_000_000
"""Characters. The csv module's own limit (131,072) is less than a long review can have."""

_NESTED = 100
"""Levels of JSON in each other. What goes deeper can be read, but neither written nor carried."""

_SEPARATORS = {".csv": ",;\t", ".tsv": "\t"}
"""What may part columns, the likeliest first."""

_QUOTED = re.compile(r'"[^"]*(?:"|$)')

UNDECODED = "not UTF-8 text"
"""The error of a row of other bytes, where no other encoding was named."""

_ESCAPED = re.compile(r"[\udc80-\udcff]")
"""What is left of bytes that were no UTF-8, when read with errors="surrogateescape"."""

_REMEDY = "name its encoding (--encoding, ?encoding=), as {}, or save it as UTF-8"

_UTF_16 = ("\udcff\udcfe", "\udcfe\udcff")
"""How a file of UTF-16 begins, read as UTF-8."""

_UTF_8 = ("utf_8", "utf_8_sig")


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its values by column, and what is wrong with it, if anything is."""

    line: int
    """Counted from 1; for a row that spans several lines, the last of them."""
    values: dict[str, object]
    error: str | None = None
    file: str | None = None
    """Where it stands, if rows of several files come together."""


def codec(encoding: str | None) -> str:
    """Return what Python is to open text of this `encoding` with; None: UTF-8.

    Raises DatasetError for one that is not known.
    """
    # Not by codecs.lookup, which keeps every name that it is asked for.
    name = normalize_encoding(encoding or "utf-8").lower()
    name = aliases.aliases.get(name, name)
    if name in _UTF_8:
        return "utf-8-sig"  # with or without a byte order mark
    is_text = not name.endswith("_codec") and name not in ("mbcs", "rot_13")
    if name in aliases.aliases.values() and is_text:
        return name
    raise DatasetError(
        f"unknown encoding {encoding!r}: expected for example windows-1252 or utf-16",
        code="unknown-encoding",
    )


def text_lines(raw: IO[bytes], encoding: str | None = None) -> TextIOWrapper:
    """Return the lines of `raw`, as `rows` reads them. Raises DatasetError as `codec`."""
    return TextIOWrapper(raw, encoding=codec(encoding), errors="surrogateescape", newline="")


def rows(
    lines: Iterable[str], suffix: str, name: str, encoding: str | None = None
) -> Iterator[Row]:
    """Yield the rows of `lines`, a table of the kind `suffix` says, one by one.

    A row that cannot be read is yielded with its error. `lines` should be opened with
    errors="surrogateescape", so that a row of other bytes than UTF-8, or the `encoding` that was
    named, is an error of that row. Raises DatasetError, which begins with the `name` of the table,
    for an unknown suffix, for columns of the same name and for csv quotes that are never closed.
    """
    readers = {".csv": _csv, ".tsv": _tsv, ".jsonl": _json_lines, ".txt": _text_lines}
    if suffix not in readers:
        raise DatasetError(
            f"{name}: unknown format, expected {', '.join(SUFFIXES)}{advice(name)}",
            code="unknown-format",
        )
    with _told(name, encoding):
        for row in readers[suffix](_checked(lines)):
            other = encoding and row.error == UNDECODED
            yield replace(row, error=f"not {encoding} text") if other else row


def advice(name: str) -> str:
    """Return what to do with a file of that name, which is no table; perhaps blank."""
    is_sheet = name.lower().endswith((".xlsx", ".xls", ".ods"))
    return "; in Excel: Save As, CSV UTF-8" if is_sheet else ""


def header(
    lines: Iterable[str], suffix: str, name: str, encoding: str | None = None
) -> tuple[str, ...]:
    """Return the columns of a .csv or .tsv, none if it is empty. Raises DatasetError as `rows`."""
    with _told(name, encoding):
        return tuple(_header(_reader(_checked(lines), _SEPARATORS[suffix])))


@contextmanager
def _told(name: str, encoding: str | None) -> Iterator[None]:
    try:
        yield
    except csv.Error as error:
        raise DatasetError(f"{name}, {error}") from error
    except UnicodeError as error:
        raise DatasetError(f"{name} is not text in {encoding}: {error}") from error


def _checked(lines: Iterable[str]) -> Iterator[str]:
    """Return `lines`. Raises csv.Error for UTF-16 that is read as UTF-8."""
    found = iter(lines)
    first = list(islice(found, 1))
    if first and first[0].startswith(_UTF_16):
        raise csv.Error(f"line 1: this is UTF-16, not UTF-8: {_REMEDY.format('utf-16')}")
    return chain(first, found)


def _csv(lines: Iterable[str], suffix: str = ".csv") -> Iterator[Row]:
    reader = _reader(lines, _SEPARATORS[suffix])
    header = _header(reader)
    while True:
        begun = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if never_closed := _never_closed(error):
                raise csv.Error(f"line {begun}: {never_closed}") from error
            yield Row(reader.line_num, dict.fromkeys(header, ""), str(error))
            continue
        if fields:
            yield _csv_row(reader.line_num, header, fields)


def _reader(lines: Iterable[str], separators: str) -> Reader:
    """Return what reads `lines`, parted by the first of `separators` that is in the first line.

    The rows after it have no say: they may be of any number, and be read a second time.
    """
    csv.field_size_limit(_LONGEST_FIELD)
    found = iter(lines)
    first = list(islice(found, 1))
    if first and "\0" in first[0]:
        raise csv.Error("line 1: there are zero bytes in it: this is not text")
    unquoted = _QUOTED.sub("", "".join(first))
    used = next((each for each in separators if each in unquoted), separators[0])
    return csv.reader(chain(first, found), delimiter=used, strict=True)


def _header(reader: Reader) -> list[str]:
    try:
        header = next(reader, [])
    except csv.Error as error:
        raise csv.Error(f"line 1: {_never_closed(error) or error}") from error
    if len(set(header)) < len(header):
        [(name, _)] = Counter(header).most_common(1)
        raise csv.Error(f"line 1: two columns have the same name: {name[:100]!r}")
    if _undecoded(*header):
        remedy = _REMEDY.format("windows-1252")
        raise csv.Error(f"line 1: the names of the columns are not text: {remedy}")
    return header


def _never_closed(error: csv.Error) -> str | None:
    """Say it if that is what is wrong: an open quote takes in the rest of the file."""
    if "unexpected end" in str(error):
        return "a quote is never closed"
    if "field larger" in str(error):  # as much of it as is read at once
        return f"a quote is never closed, or a field is longer than {_LONGEST_FIELD:,} characters"
    return None


def _csv_row(line: int, header: list[str], fields: list[str]) -> Row:
    values: dict[str, object] = dict.fromkeys(header, "")
    values.update(zip(header, fields, strict=False))
    if len(fields) != len(header):
        return Row(line, values, f"{len(fields)} fields where the first line has {len(header)}")
    return Row(line, values, _undecoded(*fields))


def _undecoded(*texts: str) -> str | None:
    """What is wrong with `texts` if they came from bytes that were no UTF-8."""
    return UNDECODED if any(map(_ESCAPED.search, texts)) else None


def _tsv(lines: Iterable[str]) -> Iterator[Row]:
    return _csv(lines, ".tsv")


def _json_lines(lines: Iterable[str]) -> Iterator[Row]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        if undecoded := _undecoded(line):
            yield Row(number, {}, undecoded)
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield Row(number, {}, f"line {number} is not JSON: {error}")
            continue
        if line.count("[") + line.count("{") > _NESTED and _is_deep(values):
            yield Row(number, {}, f"line {number} is nested more than {_NESTED} levels deep")
        elif isinstance(values, dict):
            yield Row(number, values)
        else:
            yield Row(number, {}, f"line {number} is not a JSON object")


def _is_deep(values: object) -> bool:
    level = [values] if isinstance(values, dict | list) else []
    for _ in range(_NESTED):
        level = [
            inside
            for each in level
            for inside in (each.values() if isinstance(each, dict) else each)
            if isinstance(inside, dict | list)
        ]
    return bool(level)


def _text_lines(lines: Iterable[str]) -> Iterator[Row]:
    for number, line in enumerate(lines, start=1):
        text = line.rstrip("\r\n")
        yield Row(number, {"text": text}, _undecoded(text))
