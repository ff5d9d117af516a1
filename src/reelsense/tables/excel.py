"""Read the rows of a sheet of an Excel file (.xlsx, ECMA-376), element by element.

The limits hold for any content. Libraries need gigabytes for small files that were made for it:
they store a dense grid, fill gaps between rows, or read all styles (docs/decisions/0014).
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from posixpath import join, normpath
from typing import IO, cast
from xml.etree.ElementTree import (  # nosec B405  # see _check_prolog
    Element,
    ParseError,
    XMLPullParser,
)

from reelsense.errors import DatasetError, ReelsenseError
from reelsense.tables.row import MAX_COLUMNS

_MAX_BYTES = 200_000_000  # of the uncompressed file
_MAX_SMALL_BYTES = 2_000_000  # of a part that is neither a sheet nor the shared texts
_MAX_TEXTS = 2_000_000  # shared by cells
_MAX_ELEMENTS = 8 * MAX_COLUMNS  # of a small part, a row or a shared text
_MAX_TEXT_BYTES = 10_000_000

_CHUNK = 64 * 1024

_ESCAPE = re.compile(r"_x([0-9A-Fa-f]{4})_")  # of characters that XML does not allow
_ENCODING = re.compile(rb"<\?xml[^>]*?encoding\s*=\s*[\"']([^\"']*)")
_COLUMN = re.compile(r"([A-Z]{1,3})[0-9]*")
# Built-in formats of dates and times (ECMA-376, 18.8.30), and letters of such custom formats.
_DATE_FORMATS = {*range(14, 23), *range(27, 37), *range(45, 48), *range(50, 59)}
_DATE_LETTERS = re.compile(r"[dmhysDMHYS]")
_NOT_FORMAT = re.compile(r'"[^"]*"|\[(?!h|m|s)[^\]]*\]|\\.|_.', re.IGNORECASE)

Check = Callable[[], None]


def sheet_rows(
    raw: IO[bytes], name: str, sheet: str | None = None, check: Check = lambda: None
) -> Iterator[list[object]]:
    """Yield the cells of each row that is not blank, the header first.

    Args:
        raw: The file.
        name: Its name, for errors.
        sheet: Name of the sheet; None: the first one.
        check: Called repeatedly; may raise an error to stop.

    Raises:
        DatasetError: The file is damaged or too large, or has no such sheet.
    """
    with _excel_errors(name), zipfile.ZipFile(raw) as archive:
        _check_size(archive, name)
        workbook = _Workbook.read(archive, check)
        part = workbook.part_of(sheet, name)
        with archive.open(part) as file:
            for cells in _rows(_Events(file, check), workbook):
                while cells and cells[-1] == "":
                    cells.pop()
                if cells:
                    yield cells


@contextmanager
def _excel_errors(name: str) -> Iterator[None]:
    try:
        yield
    except ReelsenseError:  # such as a deadline, which is an OSError
        raise
    # RuntimeError: an encrypted part
    except (zipfile.BadZipFile, zlib.error, ParseError, OSError, EOFError, LookupError, ValueError,
            OverflowError, RuntimeError) as error:  # fmt: skip
        reason = str(error) or type(error).__name__
        raise DatasetError(f"{name} is not a readable .xlsx file: {reason}",
                           code="damaged-file") from error  # fmt: skip


def _check_size(archive: zipfile.ZipFile, name: str) -> None:
    size = sum(entry.file_size for entry in archive.infolist())
    if size > _MAX_BYTES:
        raise DatasetError(
            f"{name} has {size:,} bytes when uncompressed: the limit is {_MAX_BYTES:,}; save it "
            "as CSV UTF-8",
            code="file-too-large",
        )


@dataclass
class _Events:
    """The elements of a part, which are read in chunks."""

    file: IO[bytes]
    check: Check
    elements: int = 0  # since the user of the events set it to 0

    def __iter__(self) -> Iterator[tuple[str, str, Element]]:
        """Yield "start" or "end", the name without namespace, and the element."""
        parser: XMLPullParser[Element] = XMLPullParser(("start", "end"))
        prolog: bytes | None = b""
        bytes_without_event = 0
        while chunk := self.file.read(_CHUNK):
            self.check()
            if prolog is not None:
                prolog += chunk
                _check_prolog(prolog)
            parser.feed(chunk)
            bytes_without_event += len(chunk)
            for event in self._counted(parser):
                prolog, bytes_without_event = None, 0
                yield event
            if bytes_without_event > _MAX_TEXT_BYTES:
                raise ValueError(f"a text has more than {_MAX_TEXT_BYTES:,} bytes")
        parser.close()
        yield from self._counted(parser)

    def _counted(self, parser: XMLPullParser[Element]) -> Iterator[tuple[str, str, Element]]:
        for event, element in cast("Iterator[tuple[str, Element]]", parser.read_events()):
            self.elements += event == "start"
            if self.elements > _MAX_ELEMENTS:
                raise ValueError("it has too many elements")
            yield event, element.tag.rpartition("}")[2], element


def _check_prolog(start: bytes) -> None:
    """Raise ValueError if entities could be declared, which expand to many times their size."""
    text = start.replace(b"\0", b"")  # of UTF-16
    encoding = _ENCODING.match(text.lstrip(b"\xef\xbb\xbf\xff\xfe"))
    if b"<!DOCTYPE" in text or (encoding and encoding[1].lower() not in (b"utf-8", b"utf-16")):
        raise ValueError("it has a document type or an encoding that .xlsx files do not have")


@dataclass
class _Workbook:
    """The sheets, and the shared texts and styles that their cells refer to."""

    sheets: dict[str, str] = field(default_factory=dict)  # parts by name
    texts: list[str] = field(default_factory=list)
    is_date: list[bool] = field(default_factory=list)  # by style
    first_day: datetime = datetime(1899, 12, 30)

    @classmethod
    def read(cls, archive: zipfile.ZipFile, check: Check) -> _Workbook:
        workbook = cls()
        [main] = (
            part for _, kind, part in _related(archive, "", check) if kind == "officeDocument"
        )
        related = _related(archive, main, check)
        parts = {reference: part for reference, _, part in related}
        for tag, element in _elements(archive, main, check):
            if tag == "sheet":
                [reference] = [value for key, value in element.items() if key.endswith("}id")]
                workbook.sheets[element.get("name", "")] = parts[reference]
            elif tag == "workbookPr" and element.get("date1904") in ("1", "true"):
                workbook.first_day = datetime(1904, 1, 1)
        for _, kind, part in related:
            if kind == "styles":
                workbook.is_date = _date_styles(archive, part, check)
            elif kind == "sharedStrings":
                workbook.texts = _shared_texts(archive, part, check)
        return workbook

    def part_of(self, sheet: str | None, name: str) -> str:
        """Return the part of a sheet; None: the first one. Raises DatasetError."""
        if not self.sheets or (sheet is not None and sheet not in self.sheets):
            raise DatasetError(
                f"{name}: no sheet {sheet or ''!r}: expected one of "
                f"{', '.join(map(repr, self.sheets)) or '(none)'}",
                code="no-such-sheet",
            )
        return next(iter(self.sheets.values())) if sheet is None else self.sheets[sheet]

    def value(self, cell: Element) -> object:
        """Return the value of a cell as it would be in JSON; whole numbers without a fraction."""
        kind = cell.get("t", "n")
        if kind == "inlineStr":
            return "".join(_text(part) for part in cell if part.tag.endswith("}is"))
        text = next((part.text or "" for part in cell if part.tag.endswith("}v")), "")
        if not text:
            return ""
        if kind == "s":
            return self.texts[int(text)]
        if kind == "b":
            return text == "1"
        if kind != "n":  # the result of a formula, an error, or a date in ISO 8601
            return _unescaped(text)
        number = float(text)
        style = int(cell.get("s", "0"))
        if style < len(self.is_date) and self.is_date[style]:
            return self._date(number)
        return int(number) if number.is_integer() else number

    def _date(self, days: float) -> str:
        # Rounded, because a second is not a round part of a day.
        date = self.first_day + timedelta(milliseconds=round(days * 86_400_000))
        if days < 1:
            return date.time().isoformat()
        return date.isoformat()


def _related(archive: zipfile.ZipFile, part: str, check: Check) -> list[tuple[str, str, str]]:
    """Return id, kind and name of the parts that a part refers to."""
    folder, _, file = part.rpartition("/")
    return [
        (
            element.get("Id", ""),
            element.get("Type", "").rpartition("/")[2],
            normpath(join("/", folder, element.get("Target", ""))).lstrip("/"),
        )
        for tag, element in _elements(archive, join(folder, "_rels", f"{file}.rels"), check)
        if tag == "Relationship"
    ]


def _elements(archive: zipfile.ZipFile, part: str, check: Check) -> Iterator[tuple[str, Element]]:
    """Yield the complete elements of a small part."""
    if archive.getinfo(part).file_size > _MAX_SMALL_BYTES:
        raise ValueError(f"{part} has more than {_MAX_SMALL_BYTES:,} bytes")
    with archive.open(part) as file:
        for event, tag, element in _Events(file, check):
            if event == "end":
                yield tag, element


def _shared_texts(archive: zipfile.ZipFile, part: str, check: Check) -> list[str]:
    texts: list[str] = []
    root: Element | None = None
    with archive.open(part) as file:
        events = _Events(file, check)
        for event, tag, element in events:
            root = element if root is None else root
            if event == "end" and tag == "si":
                texts.append(_text(element))
                root.clear()
                events.elements = 0
            if len(texts) > _MAX_TEXTS:
                raise ValueError(f"it has more than {_MAX_TEXTS:,} texts")
    return texts


def _text(item: Element) -> str:
    """Return a shared or inline text, without formats and hints on pronunciation."""
    runs = [run for run in item if run.tag.endswith("}r")]
    texts = [part.text or "" for run in runs or [item] for part in run if part.tag.endswith("}t")]
    return _unescaped("".join(texts))


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text) if "_x" in text else text


def _date_styles(archive: zipfile.ZipFile, part: str, check: Check) -> list[bool]:
    """Return whether cells of each style are dates."""
    custom: dict[str, bool] = {}
    styles: list[bool] = []
    for tag, element in _elements(archive, part, check):
        if tag == "numFmt":
            code = _NOT_FORMAT.sub("", element.get("formatCode", ""))
            custom[element.get("numFmtId", "")] = bool(_DATE_LETTERS.search(code))
        elif tag == "cellXfs":
            numbers = [style.get("numFmtId", "0") for style in element]
            styles = [custom.get(number, int(number) in _DATE_FORMATS) for number in numbers]
    return styles


def _rows(events: _Events, workbook: _Workbook) -> Iterator[list[object]]:
    cells: list[object] = []
    parent: Element | None = None
    for event, tag, element in events:
        if event == "start":
            parent = element if tag == "sheetData" else parent
        elif tag == "c":
            match = _COLUMN.match(element.get("r", ""))
            column = _column_number(match[1]) if match else len(cells)
            if column >= MAX_COLUMNS:
                raise ValueError(f"a row has more than {MAX_COLUMNS:,} cells")
            cells.extend([""] * (column + 1 - len(cells)))
            cells[column] = workbook.value(element)
        elif tag == "row":
            yield cells
            cells, events.elements = [], 0
            if parent is not None:
                parent.clear()  # its rows, which are complete


def _column_number(letters: str) -> int:
    """Return the number of a column, from 0: A is 0, Z is 25, AA is 26."""
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - ord("A") + 1
    return number - 1
