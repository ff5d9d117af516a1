"""Reading of text files, and atomic file writes."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""Error numbers of a full disk, quota or file size limit."""


def read_text(path: Path, error_class: Callable[..., Exception]) -> str:
    """Return the content of a UTF-8 file.

    Raises:
        error_class: The file cannot be read or is not UTF-8 text (code `unreadable`).
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise error_class(f"cannot read {path}: {error.strerror}", code="unreadable") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise error_class(f"{path}, line {line}: not UTF-8 text", code="unreadable") from error


@contextmanager
def atomic_bytes(path: Path, mode: int = 0o666, beside: Path | None = None) -> Iterator[IO[bytes]]:
    """Open a binary file that replaces `path` if the block succeeds.

    Args:
        path: The file to replace.
        mode: Its permissions, from which the umask is subtracted.
        beside: The temporary file, in the same folder; by default named after `path`.
    """
    beside = beside or path.with_name(f".{path.name}.part")
    try:
        beside.unlink(missing_ok=True)
        with os.fdopen(os.open(beside, _NEW, mode), "wb") as file:
            yield file
        os.replace(beside, path)
    except OSError as error:
        if error.errno in NO_ROOM:  # errors of writing do not name the file
            error.filename = str(path)
        raise
    finally:
        beside.unlink(missing_ok=True)


def write_atomically(path: Path, text: str, mode: int = 0o666) -> None:
    """Write `text` to `path` atomically, with permissions as for `atomic_bytes`."""
    with atomic_bytes(path, mode) as file:
        file.write(text.encode())
