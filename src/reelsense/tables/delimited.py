"""Read rows of .csv, .tsv and .jsonl files, and of .txt files with one text per line.

Does not know what the columns mean.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from encodings import aliases, normalize_encoding
from functools import partial
from io import TextIOWrapper
from itertools import chain, islice
from typing import IO, TYPE_CHECKING

from reelsense.errors import DatasetError

if TYPE_CHECKING:
    from _csv import Reader

SUFFIXES = (".csv", ".tsv", ".jsonl", ".txt")

UNDECODED = "not UTF-8 text"  # error of a row that cannot be decoded, without an explicit encoding

_MAX_FIELD = 100_000_000  # characters; the default of the csv module is less than a long review
_MAX_NESTING = 100  # levels of JSON: deeper values can be read, but not written or pickled

_SEPARATORS = {".csv": ",;\t", ".tsv": "\t"}  # of columns, the most likely first

_QUOTED = re.compile(r'"[^"]*(?:"|$)')
_ESCAPED = re.compile(r"[\udc80-\udcff]")  # undecodable bytes (errors="surrogateescape")
_UTF_16 = ("\udcff\udcfe", "\udcfe\udcff")  # the start of a UTF-16 file, read as UTF-8

_REMEDY = "set the encoding (--encoding or ?encoding=), for example {}, or save the file as UTF-8"


@dataclass(frozen=True, slots=True)
class Row:
    """A row: its values by column, or an error."""

    line: int  # counted from 1; the last one if the row spans several lines
    values: dict[str, object]
    error: str | None = None
    file: str | None = None  # if rows of several files are combined


def codec(encoding: str | None) -> str:
    """Return the Python codec for text in `encoding`; None: UTF-8.

    Raises DatasetError if the encoding is unknown.
    """
    # Not codecs.lookup, which caches every name without limit.
    name = normalize_encoding(encoding or "utf-8").lower()
    name = aliases.aliases.get(name, name)
    if name in ("utf_8", "utf_8_sig"):
        return "utf-8-sig"  # with or without a byte order mark
    is_text = not name.endswith("_codec") and name not in ("mbcs", "rot_13")
    if name in aliases.aliases.values() and is_text:
        return name
    raise DatasetError(
        f"unknown encoding {encoding!r}: expected a Python codec name such as windows-1252 or "
        "utf-16",
        code="unknown-encoding",
    )


def text_lines(raw: IO[bytes], encoding: str | None = None) -> TextIOWrapper:
    """Return the lines of `raw` as `rows` expects them. Raises DatasetError like `codec`."""
    return TextIOWrapper(raw, encoding=codec(encoding), errors="surrogateescape", newline="")


def rows(
    lines: Iterable[str], suffix: str, name: str, encoding: str | None = None
) -> Iterator[Row]:
    """Yield the rows of the table `name`. A row that cannot be read has an error.

    With `lines` from `text_lines`, undecodable bytes are errors of their rows; `encoding` is only
    used in messages. Raises DatasetError if the suffix is unknown, two columns have the same name,
    or a quoted field is not terminated.
    """
    readers: dict[str, Callable[[Iterable[str]], Iterator[Row]]] = {
        ".csv": partial(_delimited, separators=_SEPARATORS[".csv"]),
        ".tsv": partial(_delimited, separators=_SEPARATORS[".tsv"]),
        ".jsonl": _json_lines,
        ".txt": _text_lines,
    }
    if suffix not in readers:
        raise DatasetError(
            f"{name}: unknown format: expected {', '.join(SUFFIXES)}{conversion_hint(name)}",
            code="unknown-format",
        )
    with _format_errors(name, encoding):
        for row in readers[suffix](_checked(lines)):
            is_other_encoding = encoding and row.error == UNDECODED
            yield replace(row, error=f"not {encoding} text") if is_other_encoding else row


def conversion_hint(name: str) -> str:
    """Return how to convert a spreadsheet file to CSV; blank for other names."""
    is_spreadsheet = name.lower().endswith((".xlsx", ".xls", ".ods"))
    return "; in Excel: Save As, CSV UTF-8" if is_spreadsheet else ""


def header(
    lines: Iterable[str], suffix: str, name: str, encoding: str | None = None
) -> tuple[str, ...]:
    """Return the columns of a .csv or .tsv; none if empty. Raises DatasetError like `rows`."""
    with _format_errors(name, encoding):
        return tuple(_header(_reader(_checked(lines), _SEPARATORS[suffix])))


@contextmanager
def _format_errors(name: str, encoding: str | None) -> Iterator[None]:
    try:
        yield
    except csv.Error as error:
        raise DatasetError(f"{name}, {error}", code="malformed-table") from error
    except UnicodeError as error:
        raise DatasetError(
            f"{name} is not text in {encoding}: {error}", code="wrong-encoding"
        ) from error


def _checked(lines: Iterable[str]) -> Iterator[str]:
    """Return `lines`. Raises csv.Error if they are UTF-16 that is read as UTF-8."""
    lines = iter(lines)
    first = list(islice(lines, 1))
    if first and first[0].startswith(_UTF_16):
        raise csv.Error(f"line 1: the file is UTF-16, not UTF-8: {_REMEDY.format('utf-16')}")
    return chain(first, lines)


def _delimited(lines: Iterable[str], separators: str) -> Iterator[Row]:
    reader = _reader(lines, separators)
    header = _header(reader)
    while True:
        first_line = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if unterminated := _unterminated(error):
                raise csv.Error(f"line {first_line}: {unterminated}") from error
            yield Row(reader.line_num, dict.fromkeys(header, ""), str(error))
            continue
        if fields:
            yield _delimited_row(reader.line_num, header, fields)


def _reader(lines: Iterable[str], separators: str) -> Reader:
    """Return a reader of `lines`, with the first of `separators` that the first line contains."""
    csv.field_size_limit(_MAX_FIELD)
    lines = iter(lines)
    first = list(islice(lines, 1))
    if first and "\0" in first[0]:
        raise csv.Error("line 1 contains NUL bytes: the file is not a text file")
    unquoted = _QUOTED.sub("", "".join(first))
    used = next((separator for separator in separators if separator in unquoted), separators[0])
    return csv.reader(chain(first, lines), delimiter=used, strict=True)


def _header(reader: Reader) -> list[str]:
    try:
        header = next(reader, [])
    except csv.Error as error:
        raise csv.Error(f"line 1: {_unterminated(error) or error}") from error
    if len(set(header)) < len(header):
        [(name, _)] = Counter(header).most_common(1)
        raise csv.Error(f"line 1: two columns have the same name: {name[:100]!r}")
    if _undecoded(*header):
        remedy = _REMEDY.format("windows-1252")
        raise csv.Error(f"line 1: the column names are not text: {remedy}")
    return header


def _unterminated(error: csv.Error) -> str | None:
    """Return the message for a quoted field that extends to the end of the file, if it is that."""
    if "unexpected end" in str(error):
        return "unterminated quoted field"
    if "field larger" in str(error):
        return f"unterminated quoted field, or a field longer than {_MAX_FIELD:,} characters"
    return None


def _delimited_row(line: int, header: list[str], fields: list[str]) -> Row:
    values: dict[str, object] = dict.fromkeys(header, "")
    values.update(zip(header, fields, strict=False))
    if len(fields) != len(header):
        return Row(line, values, f"{len(fields)} fields where the first line has {len(header)}")
    return Row(line, values, _undecoded(*fields))


def _undecoded(*texts: str) -> str | None:
    return UNDECODED if any(map(_ESCAPED.search, texts)) else None


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
        if _is_deep(values):
            yield Row(number, {}, f"line {number} is nested more than {_MAX_NESTING} levels deep")
        elif isinstance(values, dict):
            yield Row(number, values)
        else:
            yield Row(number, {}, f"line {number} is not a JSON object")


def _is_deep(value: object, levels: int = _MAX_NESTING) -> bool:
    if not isinstance(value, dict | list):
        return False
    children = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deep(child, levels - 1) for child in children)


def _text_lines(lines: Iterable[str]) -> Iterator[Row]:
    for number, line in enumerate(lines, start=1):
        text = line.rstrip("\r\n")
        yield Row(number, {"text": text}, _undecoded(text))
