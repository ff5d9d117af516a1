"""Read JSON: an array of objects, which is streamed, or JSON Lines. The content decides which."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from io import TextIOBase
from itertools import chain, islice

from reelsense.errors import DatasetError
from reelsense.tables.row import Row
from reelsense.tables.text import limited_lines, undecoded

_MAX_NESTING = 100  # levels: deeper values can be read, but not written or pickled

_CHUNK = 65_536  # characters of an array that are read at a time
_MAX_ELEMENT = 10_000_000  # characters

_MAX_VALUES = 100_000
"""Maximum values per object (estimate): one can need 28 times the memory of its characters."""

_VALUE_START = re.compile(r"[\[{,]")

_BETWEEN = " \t\r\n,"

# How a data frame begins that pandas wrote with another `orient` than "records".
_OTHER_ORIENT = re.compile(
    r"""\s*\{\s*"(columns"\s*:\s*\[|schema"\s*:\s*\{|\d+"\s*:\s*\{|[^"]*"\s*:\s*\{\s*"\d+"\s*:)"""
)


def json_rows(file: TextIOBase, name: str, encoding: str | None) -> Iterator[Row]:
    """Yield the objects of an array or of JSON Lines.

    Raises DatasetError if the file is a single object instead, or an array that is damaged.
    """
    start = file.readline(_CHUNK)
    while start and not start.strip("\ufeff \t\r\n"):
        start = file.readline(_CHUNK)
    if start.lstrip().startswith("["):
        yield from _array(file, start.lstrip()[1:], name, encoding)
        return
    lines = limited_lines(file, name)
    first = start if start.endswith("\n") else start + next(lines, "")
    if first.strip() == "{" or _OTHER_ORIENT.match(first):
        raise DatasetError(
            f"{name} is a single JSON object: expected an array of objects or JSON Lines; with "
            'pandas, use df.to_json(path, orient="records")',
            code="single-object",
        )
    yield from _json_lines(chain([first], lines), encoding)


def is_deep(value: object, levels: int = _MAX_NESTING) -> bool:
    """Return whether a JSON value is nested deeper than `levels`."""
    if not isinstance(value, dict | list):
        return False
    children = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(is_deep(child, levels - 1) for child in children)


def _json_lines(lines: Iterable[str], encoding: str | None) -> Iterator[Row]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        if undecodable := undecoded([line], encoding):
            yield Row(number, {}, undecodable)
            continue
        if len(_affordable(line)) < len(line):
            yield Row(number, {}, f"line {number} has more than {_MAX_VALUES:,} values")
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield Row(number, {}, f"line {number} is not JSON: {error}")
            continue
        yield _row(number, value, f"line {number}")


def _array(file: TextIOBase, text: str, name: str, encoding: str | None) -> Iterator[Row]:
    """Yield the elements of an array; `text` is its beginning, without the bracket."""
    decoder = json.JSONDecoder()
    number, start, pending = 1, 0, ""
    while True:
        while start < len(text) and text[start] in _BETWEEN:
            start += 1
        if text.startswith("]", start):
            return
        try:
            value, end = decoder.raw_decode(text, start)
            if end == len(text) and not isinstance(value, dict):  # 12 may continue as 123
                raise ValueError("unexpected end")
        except (ValueError, RecursionError) as error:
            reason = str(error)
            if pending and start == 0:
                reason = f"it has more than {_MAX_VALUES:,} values"
            rest = text[start:] + pending
            # Read at least as much again, so that a long element takes linear time.
            more = "" if pending else file.read(max(_CHUNK, len(rest)))
            if (pending and start == 0) or not (pending or more) or len(rest) > _MAX_ELEMENT:
                raise DatasetError(
                    f"{name}: element {number} of the array cannot be read: {reason}",
                    code="damaged-file",
                ) from error
            rest += more
            text, start = _affordable(rest), 0
            pending = rest[len(text) :]
            continue
        row = _row(number, value, f"element {number}")
        error_text = undecoded([text[start:end]], encoding)
        yield Row(number, {}, error_text) if error_text else row
        number, start = number + 1, end


def _affordable(text: str) -> str:
    """Return the beginning of `text` that has at most `_MAX_VALUES` values."""
    if sum(map(text.count, "[{,")) <= _MAX_VALUES:
        return text
    first_beyond = next(islice(_VALUE_START.finditer(text), _MAX_VALUES, None))
    return text[: first_beyond.start()]


def _row(number: int, value: object, place: str) -> Row:
    if is_deep(value):
        return Row(number, {}, f"{place} is nested more than {_MAX_NESTING} levels deep")
    if isinstance(value, dict):
        return Row(number, value)
    return Row(number, {}, f"{place} is not a JSON object")
