"""Reading of text files, and atomic writes of files and folders."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_NO_EXCHANGE = {errno.ENOSYS, errno.EINVAL, errno.EPERM}  # EPERM: a sandbox

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


def exchange(first: Path, second: Path) -> bool:
    """Swap two files or folders atomically, with renameat2(2) of Linux.

    Returns:
        False if the system or the file system cannot do that; then nothing was changed.

    Raises:
        OSError: One of them does not exist, or cannot be renamed.
    """
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):  # another system, or an old C library
        return False
    if rename(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0:
        return True
    error = ctypes.get_errno()
    if error in _NO_EXCHANGE:
        return False
    raise OSError(error, os.strerror(error), str(first), None, str(second))


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
        # Errors of writing do not name the file, and the temporary one is unknown to the user.
        if error.errno in NO_ROOM or str(error.filename) == str(beside):
            error.filename = str(path)
        raise
    finally:
        beside.unlink(missing_ok=True)


def write_atomically(path: Path, text: str, mode: int = 0o666) -> None:
    """Write `text` to `path` atomically, with permissions as for `atomic_bytes`."""
    with atomic_bytes(path, mode) as file:
        file.write(text.encode())
