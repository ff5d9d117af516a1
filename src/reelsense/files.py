"""Atomic file writes."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import IO

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""Error numbers of a full disk, quota or file size limit."""


@contextmanager
def atomic(path: Path, mode: int = 0o666) -> Iterator[IO[str]]:
    """Open a text file that replaces `path` if the block succeeds.

    Args:
        path: The file to replace.
        mode: Its permissions, from which the umask is subtracted.
    """
    with atomic_bytes(path, mode) as raw:
        file = TextIOWrapper(raw, encoding="utf-8", newline="")
        yield file
        file.flush()
        file.detach()


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
    """Write `text` to `path` atomically, with permissions as for `atomic`."""
    with atomic(path, mode) as file:
        file.write(text)
