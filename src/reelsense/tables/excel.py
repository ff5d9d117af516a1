"""Read the rows of a sheet of an Excel file (.xlsx) with python-calamine."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import IO

from reelsense.errors import DatasetError
from reelsense.extras import importable

_MAX_BYTES = 500_000_000
"""Of the uncompressed file: a sheet is read into memory as a whole."""


def sheet_rows(raw: IO[bytes], name: str, sheet: str | None = None) -> Iterator[list[object]]:
    """Return the cells of each row that is not blank, the header first.

    Args:
        raw: The file.
        name: Its name, for errors.
        sheet: Name of the sheet; None: the first one.

    Raises:
        DatasetError: The file is damaged or too large, or has no such sheet.
        MissingExtraError: python-calamine is not installed.
    """
    importable("python_calamine", "excel", "Excel")
    import python_calamine as calamine

    try:
        _check_size(raw, name)
        workbook = calamine.CalamineWorkbook.from_filelike(raw)
        names = workbook.sheet_names
        if not names or (sheet is not None and sheet not in names):
            raise DatasetError(
                f"{name}: no sheet {sheet!r}; there are: {', '.join(map(repr, names))}",
                code="no-such-sheet",
            )
        rows = workbook.get_sheet_by_name(names[0] if sheet is None else sheet).iter_rows()
    except (calamine.CalamineError, zipfile.BadZipFile, OSError) as error:
        raise DatasetError(f"{name} is not a readable .xlsx file: {error}",
                           code="damaged-file") from error  # fmt: skip
    return ([_plain(cell) for cell in row] for row in rows if any(cell != "" for cell in row))


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
    if isinstance(cell, float) and cell.is_integer():
        return int(cell)
    if isinstance(cell, datetime | date | time):
        return cell.isoformat()
    if isinstance(cell, timedelta):
        return str(cell)
    return cell
