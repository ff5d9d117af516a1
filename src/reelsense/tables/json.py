"""Read JSON: an array of objects, which is streamed, or JSON Lines. The content decides which."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from io import TextIOBase
from itertools import chain

from reelsense.errors import DatasetError
from reelsense.tables.row import Row
from reelsense.tables.text import limited_lines, undecoded

_MAX_NESTING = 100  # levels: deeper values can be read, but not written or pickled

_CHUNK = 65_536  # characters of an array that are read at a time
_MAX_ELEMENT = 10_000_000  # characters

_BETWEEN = " \t\r\n,"

# What pandas writes with another `orient` than "records".
_OTHER_ORIENTS = ({"columns", "index", "data"}, {"schema", "data"})


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
    if first.strip() == "{" or _is_other_orient(first):
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


def _is_other_orient(line: str) -> bool:
    """Return whether a line is a data frame as pandas writes it by default."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return False
    if not isinstance(value, dict) or not value:
        return False
    if set(value) in _OTHER_ORIENTS:
        return True
    nested = [child for child in value.values() if isinstance(child, dict) and child]
    has_rows = all(key.isdecimal() for child in nested for key in child)
    return len(nested) == len(value) and (has_rows or all(key.isdecimal() for key in value))


def _json_lines(lines: Iterable[str], encoding: str | None) -> Iterator[Row]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        if undecodable := undecoded([line], encoding):
            yield Row(number, {}, undecodable)
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
    number, start = 1, 0
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
            # Read at least as much again, so that a long element takes linear time.
            text, start = text[start:], 0
            more = file.read(max(_CHUNK, len(text)))
            if not more or len(text) > _MAX_ELEMENT:
                raise DatasetError(
                    f"{name}: element {number} of the array cannot be read: {error}",
                    code="damaged-file",
                ) from error
            text += more
            continue
        row = _row(number, value, f"element {number}")
        error_text = undecoded([text[start:end]], encoding)
        yield Row(number, {}, error_text) if error_text else row
        number, start = number + 1, end


def _row(number: int, value: object, place: str) -> Row:
    if is_deep(value):
        return Row(number, {}, f"{place} is nested more than {_MAX_NESTING} levels deep")
    if isinstance(value, dict):
        return Row(number, value)
    return Row(number, {}, f"{place} is not a JSON object")
