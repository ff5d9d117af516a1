"""Text files: encodings, and rows of .txt files with one text per line."""

from __future__ import annotations

import encodings
import pkgutil
import re
from collections.abc import Iterable, Iterator
from encodings import aliases, normalize_encoding
from io import TextIOBase, TextIOWrapper
from itertools import count
from typing import IO

from reelsense.errors import DatasetError
from reelsense.tables.row import Row

UNDECODED = "not UTF-8 text"  # error of a row that cannot be decoded, without an explicit encoding

MAX_LINE = (
    10_000_000  # characters: in the worst case, every two of them become an object of 60 bytes
)

_ESCAPED = re.compile(r"[\udc80-\udcff]")  # undecodable bytes (errors="surrogateescape")
_UTF_16 = ("\udcff\udcfe", "\udcfe\udcff")  # the start of a UTF-16 file, read as UTF-8

_CODECS = {module.name for module in pkgutil.iter_modules(encodings.__path__)}

# Encodings that are decoded in linear time; utf-7, for example, is not.
_SUPPORTED = re.compile(
    r"ascii|utf_(8|16|32)(_[bl]e)?|latin_1|(iso8859|koi8|cp|mac|euc|shift)_?\w+|big5\w*|gb2312|gbk"
    r"|gb18030|johab|kz1048|ptcp154|tis_620|hp_roman8"
)

_REMEDY = "set the encoding (--encoding or ?encoding=), for example {}, or save the file as UTF-8"


def codec(encoding: str | None) -> str:
    """Return the Python codec for text in `encoding`; None: UTF-8.

    Raises DatasetError if the encoding is unknown.
    """
    # Not codecs.lookup, which caches every name without limit.
    name = normalize_encoding(encoding or "utf-8").lower()
    name = aliases.aliases.get(name, name)
    if name in ("utf_8", "utf_8_sig"):
        return "utf-8-sig"  # with or without a byte order mark
    if name in _CODECS and _SUPPORTED.fullmatch(name):
        return name
    raise DatasetError(
        f"unknown encoding {(encoding or '')[:40]!r}: expected, for example, utf-8, utf-16, "
        "windows-1252, gb18030 or shift_jis",
        code="unknown-encoding",
    )


def text_lines(raw: IO[bytes], encoding: str | None = None) -> TextIOWrapper:
    """Return the lines of `raw` with their line ends.

    Undecodable bytes become lone surrogates: see `undecoded`. Raises DatasetError like `codec`.
    """
    return TextIOWrapper(raw, encoding=codec(encoding), errors="surrogateescape", newline="")


def limited_lines(file: TextIOBase, name: str, max_line: int = MAX_LINE) -> Iterator[str]:
    """Yield the lines of a text file.

    Raises DatasetError if a line has more than `max_line` characters, or if the file is not text or
    is UTF-16 that is read as UTF-8.
    """
    for number in count(1):
        line = file.readline(max_line + 1)
        if number == 1:
            _check_start(line, name)
        if len(line) > max_line:
            raise DatasetError(
                f"{name}: line {number} is longer than {max_line:,} characters",
                code="line-too-long",
            )
        if not line:
            return
        yield line


def _check_start(line: str, name: str) -> None:
    if line.startswith(_UTF_16):
        raise DatasetError(
            f"{name}: the file is UTF-16, not UTF-8: {_REMEDY.format('utf-16')}",
            code="wrong-encoding",
        )
    if "\0" in line:
        raise DatasetError(
            f"{name}: line 1 contains NUL bytes: the file is not a text file", code="not-text"
        )


def undecoded(texts: Iterable[str], encoding: str | None) -> str | None:
    """Return the error of a row if one of its texts contains undecodable bytes."""
    if not any(map(_ESCAPED.search, texts)):
        return None
    return f"not {encoding} text" if encoding else UNDECODED


def undecoded_header(name: str) -> DatasetError:
    """Return the error of a table whose column names cannot be decoded."""
    return DatasetError(
        f"{name}, line 1: the column names are not text: {_REMEDY.format('windows-1252')}",
        code="wrong-encoding",
    )


def text_rows(lines: Iterable[str], encoding: str | None) -> Iterator[Row]:
    """Yield a row with the column `text` for each line."""
    for number, line in enumerate(lines, start=1):
        text = line.rstrip("\r\n")
        yield Row(number, {"text": text}, undecoded([text], encoding))
