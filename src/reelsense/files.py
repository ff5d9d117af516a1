"""Files that are whole or not there at all."""

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
"""What a disk that is full, or full for this user, says."""


@contextmanager
def atomic(path: Path, mode: int = 0o666) -> Iterator[IO[str]]:
    """Open a text file that takes the place of `path` once the block ends well.

    It gets the permissions `mode`, less the umask's.
    """
    with atomic_bytes(path, mode) as raw:
        file = TextIOWrapper(raw, encoding="utf-8", newline="")
        yield file
        file.flush()
        file.detach()


@contextmanager
def atomic_bytes(path: Path, mode: int = 0o666, beside: Path | None = None) -> Iterator[IO[bytes]]:
    """Do the same for bytes. They are written to the file `beside`, one named after `path`."""
    beside = beside or path.with_name(f".{path.name}.part")
    try:
        beside.unlink(missing_ok=True)
        with os.fdopen(os.open(beside, _NEW, mode), "wb") as file:
            yield file
        os.replace(beside, path)
    except OSError as error:
        if error.errno in NO_ROOM:  # writing does not say where
            error.filename = str(path)
        raise
    finally:
        beside.unlink(missing_ok=True)


def write_atomically(path: Path, text: str, mode: int = 0o666) -> None:
    """Write `text` to `path`, whole or not at all, with permissions as `atomic`."""
    with atomic(path, mode) as file:
        file.write(text)
