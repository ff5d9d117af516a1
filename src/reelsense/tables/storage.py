"""Find, read and write files: local paths, and the URLs that fsspec knows, such as s3://bucket/x.

A file is written completely or not at all. Does not know what the files contain.
"""

from __future__ import annotations

import glob
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from stat import S_ISREG
from typing import IO, Any

from reelsense.errors import DatasetError
from reelsense.extras import importable
from reelsense.files import atomic_bytes
from reelsense.tables.io_errors import io_errors

UNFINISHED = ".part"
"""Suffix of files that are being written; their names start with a dot."""

_PATTERN = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class FileInfo:
    """A file that exists."""

    name: str
    """As the user calls it."""
    address: str
    """Absolute path or URL."""
    size: int | None
    """In bytes; None for a pipe or if the store does not know it."""


def is_local(address: str) -> bool:
    """Return whether `address` is a local path."""
    return "://" not in address or address.startswith("file://")


def absolute(address: str) -> str:
    """Return the absolute path or URL of `address`, with symbolic links resolved."""
    if is_local(address):
        return os.path.realpath(_path(address))
    with _store_errors(address, "used"):
        store, path = _store(address)
        return str(store.unstrip_protocol(path))


def find_files(address: str) -> list[FileInfo]:
    """Return a file, the files of a folder and its subfolders, or those that match a pattern.

    Names that start with . or _ are left out, unless they are part of `address`.

    Returns:
        At least one file, sorted by name.

    Raises:
        DatasetError: There are no files, or the store cannot be read.
    """
    with _store_errors(address, "read"):
        files = _find_local(address) if is_local(address) else _find_remote(address)
    if not files:
        raise DatasetError(f"{address}: no files found", code="no-files")
    return sorted(files, key=lambda file: file.name)


def _find_local(address: str) -> list[FileInfo]:
    path = str(_path(address))
    names: Iterable[str]
    if Path(path).is_dir():
        names = [name for name in _walk(path) if not _is_hidden(os.path.relpath(name, path))]
    elif not Path(path).exists() and _PATTERN & set(path):
        names = glob.glob(path, recursive=True)  # noqa: PTH207  # Path.glob takes no absolute ones
    else:
        status = Path(path).stat()
        size = status.st_size if S_ISREG(status.st_mode) else None
        return [FileInfo(address, str(Path(path).absolute()), size)]
    files = [Path(name) for name in names if Path(name).is_file()]
    return [FileInfo(str(file), str(file.absolute()), file.stat().st_size) for file in files]


def _walk(folder: str) -> Iterator[str]:
    def fail(error: OSError) -> None:
        raise error

    for parent, _, names in os.walk(folder, onerror=fail, followlinks=False):
        yield from (str(Path(parent, name)) for name in names)


def _find_remote(address: str) -> list[FileInfo]:
    store, path = _store(address)
    if store.isdir(path):
        found = store.find(path, detail=True, on_error="raise")
        entries = [entry for name, entry in found.items() if not _is_hidden(_relative(name, path))]
    elif _PATTERN & set(path):
        entries = list(store.glob(path, detail=True).values())
    else:
        return [FileInfo(address, address, store.info(path).get("size"))]
    urls = [(store.unstrip_protocol(entry["name"]), entry) for entry in entries]
    return [
        FileInfo(url, url, entry.get("size"))
        for url, entry in urls
        if entry["type"] == "file" and not url.endswith("/")  # a marker of a folder
    ]


@contextmanager
def open_file(address: str) -> Iterator[IO[bytes]]:
    """Open a file for reading. Raises DatasetError if that is impossible."""
    with _store_errors(address, "read"):
        if is_local(address):
            file: IO[bytes] = _path(address).open("rb")
        else:
            store, path = _store(address)
            file = store.open(path, "rb")
    with file:
        yield file


@contextmanager
def replace_file(address: str) -> Iterator[IO[bytes]]:
    """Open a file that replaces the one at `address` if the block succeeds."""
    if is_local(address):
        with atomic_bytes(_path(address)) as file:
            yield file
        return
    with tempfile.TemporaryFile() as local:
        yield local
        local.seek(0)
        with _store_errors(address, "written"):
            store, path = _store(address)
            with store.open(path, "wb") as remote:
                shutil.copyfileobj(local, remote, 2**20)


class OutputFolder:
    """A folder of files. It is created when the first file is written."""

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")

    def at(self, name: str) -> str:
        """Return the path or URL of the file `name`."""
        return f"{self.address}/{name}"

    def names(self) -> set[str]:
        """Return the names in the folder; none if there is no folder."""
        with _store_errors(self.address, "read"):
            if is_local(self.address):
                path = _path(self.address)
                return {entry.name for entry in path.iterdir()} if path.exists() else set()
            store, folder = _store(self.address)
            if not store.isdir(folder):
                return set()
            store.invalidate_cache(folder)
            names = store.ls(folder, detail=False)
            return {_relative(name, folder) for name in names} - {"", "."}

    def read(self, name: str) -> bytes:
        """Return the content of the file `name`."""
        with open_file(self.at(name)) as file:
            return file.read()

    def write(self, name: str, content: bytes) -> None:
        """Write the file `name` atomically."""
        if not is_local(self.address):
            with replace_file(self.at(name)) as file:
                file.write(content)
            return
        folder = _path(self.address)
        folder.mkdir(parents=True, exist_ok=True)
        # A unique name: after a failure was assumed wrongly, two machines may write the same file.
        unfinished = folder / f".{name}.{secrets.token_hex(4)}{UNFINISHED}"
        with atomic_bytes(folder / name, beside=unfinished) as file:
            file.write(content)

    def remove(self, *names: str) -> None:
        """Remove the files `names` if they exist, and the folder if it is then empty."""
        for name in names:
            remove(self.at(name))
        if is_local(self.address):
            with suppress(OSError):  # not empty
                _path(self.address).rmdir()


def is_folder(address: str) -> bool:
    """Return whether `address` names a folder: it ends with / or is an existing local folder."""
    return address.endswith("/") or (is_local(address) and _path(address).is_dir())


def remove(address: str) -> None:
    """Remove the file at `address` if it exists."""
    with _store_errors(address, "removed"), suppress(FileNotFoundError):
        if is_local(address):
            _path(address).unlink()
        else:
            store, path = _store(address)
            store.rm_file(path)


def _path(address: str) -> Path:
    return Path(address.removeprefix("file://"))


def _store(address: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs  # not needed for local paths

    try:
        store, path = url_to_fs(address)
    except ImportError:
        if address.startswith(("s3://", "s3a://")):
            importable("s3fs", "s3", address)
        raise  # the message of fsspec names the package
    return store, path


def _relative(name: str, folder: str) -> str:
    return str(PurePosixPath(name).relative_to(PurePosixPath(folder)))


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "_")) for part in PurePosixPath(name).parts)


def _store_errors(address: str, action: str) -> AbstractContextManager[None]:
    code = "unreadable-file" if action == "read" else "unwritable-file"
    return io_errors(address, action, code)
