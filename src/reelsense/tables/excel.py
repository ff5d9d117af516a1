"""Read the rows of a sheet of an Excel file (.xlsx) with openpyxl, which streams them.

Faster readers store a sheet as a dense grid: two cells at opposite corners would need terabytes.
"""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta
from typing import IO, Any
from xml.etree.ElementTree import ParseError

from reelsense.errors import DatasetError
from reelsense.extras import importable

_MAX_BYTES = 200_000_000
"""Of the uncompressed file: the texts of all its sheets are read into memory."""


def sheet_rows(raw: IO[bytes], name: str, sheet: str | None = None) -> Iterator[list[object]]:
    """Yield the cells of each row that is not blank, the header first.

    Args:
        raw: The file.
        name: Its name, for errors.
        sheet: Name of the sheet; None: the first one.

    Raises:
        DatasetError: The file is damaged or too large, or has no such sheet.
        MissingExtraError: openpyxl is not installed.
    """
    with _excel_errors(name):
        for cells in _open_sheet(raw, name, sheet).iter_rows(values_only=True):
            row = [_plain(cell) for cell in cells]
            while row and row[-1] == "":
                row.pop()
            if row:
                yield row


def _open_sheet(raw: IO[bytes], name: str, sheet: str | None) -> Any:
    importable("openpyxl", "excel", "Excel")
    import openpyxl

    _check_size(raw, name)
    warnings.filterwarnings("ignore", module="openpyxl")  # about styles
    sheets = openpyxl.load_workbook(raw, read_only=True, data_only=True).worksheets
    titles = [candidate.title for candidate in sheets]
    if not titles or (sheet is not None and sheet not in titles):
        raise DatasetError(
            f"{name}: no sheet {sheet!r}; there are: {', '.join(map(repr, titles))}",
            code="no-such-sheet",
        )
    opened = sheets[0 if sheet is None else titles.index(sheet)]
    opened.reset_dimensions()  # those in the file may be wrong
    return opened


@contextmanager
def _excel_errors(name: str) -> Iterator[None]:
    try:
        yield
    except DatasetError:
        raise
    # What openpyxl raises for damaged files.
    except (zipfile.BadZipFile, ParseError, OSError, EOFError, LookupError, ValueError,
            TypeError, AttributeError, ArithmeticError, NotImplementedError) as error:  # fmt: skip
        reason = str(error) or type(error).__name__
        raise DatasetError(f"{name} is not a readable .xlsx file: {reason}",
                           code="damaged-file") from error  # fmt: skip


def _check_size(raw: IO[bytes], name: str) -> None:
    with zipfile.ZipFile(raw) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if size > _MAX_BYTES:
        raise DatasetError(
            f"{name} has {size:,} bytes when uncompressed: the limit is {_MAX_BYTES:,}; save it "
            "as CSV UTF-8",
            code="file-too-large",
        )
    raw.seek(0)


def _plain(cell: object) -> object:
    """Return the value as it would be in JSON; whole numbers without a fraction."""
    if cell is None:
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return int(cell)
    if isinstance(cell, datetime | date | time):
        return cell.isoformat()
    return str(cell) if isinstance(cell, timedelta) else cell
