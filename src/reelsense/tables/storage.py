"""Find, read and write files: local paths, and the URLs that fsspec supports, such as s3://bucket/x.

Files are written completely or not at all. Does not know what they contain.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from reelsense.errors import DatasetError, ReelsenseError
from reelsense.extras import importable
from reelsense.files import atomic_bytes

UNFINISHED = ".part"  # suffix of files that are being written; their names start with a dot

_PATTERN = re.compile(r"[*?[]")


@dataclass(frozen=True, slots=True)
class FileInfo:
    """A file that exists."""

    name: str  # for messages and output
    address: str  # absolute path or URL
    size: int | None  # in bytes; None for a pipe or if the store does not know it


@contextmanager
def io_errors(name: str, action: str, code: str) -> Iterator[None]:
    """Map any error to a DatasetError: "{name} cannot be {action}: ...".

    Every fsspec store, gzip and pyarrow have their own exceptions, so all are caught.
    """
    try:
        yield
    except ReelsenseError:
        raise
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise DatasetError(f"{name} cannot be {action}: {reason}", code=code) from error


def is_local(address: str) -> bool:
    """Return whether `address` is a local path."""
    return "://" not in address or address.startswith("file://")


def is_folder(address: str) -> bool:
    """Return whether `address` ends with / or is an existing local folder."""
    return address.endswith("/") or (is_local(address) and _path(address).is_dir())


def absolute(address: str) -> str:
    """Return the absolute path or URL of `address`, with symbolic links resolved."""
    if is_local(address):
        return os.path.realpath(_path(address))
    with _store_errors(address, "used"):
        store, path = _store(address)
        return str(store.unstrip_protocol(path))


def find_files(address: str) -> list[FileInfo]:
    """Return a file, the files of a folder and its subfolders, or those that match a pattern.

    Files of a folder are skipped if their name, or that of a subfolder, starts with . or _. The
    result is sorted by name. Raises DatasetError if it is empty or cannot be read.
    """
    with _store_errors(address, "read"):
        store, path = _store(address)
        if store.isdir(path):
            found = store.find(path, detail=True, on_error="raise")
            entries = [found[name] for name in found if not _is_hidden(_relative(name, path))]
        elif _PATTERN.search(path) and not store.exists(path):
            entries = _matching(store, path)
        else:
            entry = store.info(path)
            size = entry.get("size") if _is_file(store, entry) else None
            return [FileInfo(address, path if is_local(address) else address, size)]
        files = [_file_info(store, address, entry) for entry in entries if _is_file(store, entry)]
    if not files:
        raise DatasetError(f"{address}: no files found", code="no-files")
    return sorted(files, key=lambda file: file.name)


def _matching(store: Any, pattern: str) -> list[dict[str, Any]]:
    """Return the entries that match `pattern`. As in a shell, wildcards match no leading dot."""
    start = len(_PATTERN.split(pattern)[0].rpartition("/")[0])
    return [
        entry
        for name, entry in store.glob(pattern, detail=True).items()
        if "/." in pattern[start:] or "/." not in name[start:]
    ]


def _is_file(store: Any, entry: dict[str, Any]) -> bool:
    if entry.get("islink"):
        return bool(store.isfile(entry["name"]))
    return entry["type"] == "file" and not entry["name"].endswith("/")  # a marker of a folder


def _file_info(store: Any, address: str, entry: dict[str, Any]) -> FileInfo:
    path, size = entry["name"], entry.get("size")
    if is_local(address):
        name = path if _path(address).is_absolute() else os.path.relpath(path)
        return FileInfo(name, path, size)
    url = store.unstrip_protocol(path)
    return FileInfo(url, url, size)


@contextmanager
def open_file(address: str) -> Iterator[IO[bytes]]:
    """Open a file for reading. Raises DatasetError if that is impossible."""
    with _store_errors(address, "read"):
        if is_local(address):
            file: IO[bytes] = _path(address).open("rb")  # fsspec cannot open pipes
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


def remove(address: str) -> None:
    """Remove the file at `address` if it exists."""
    with _store_errors(address, "removed"), suppress(FileNotFoundError):
        store, path = _store(address)
        store.rm_file(path)


class OutputFolder:
    """A folder of files. It is created when the first file is written."""

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")

    def at(self, name: str) -> str:
        """Return the path or URL of the file `name`."""
        return f"{self.address}/{name}"

    def names(self) -> set[str]:
        """Return the names in the folder; none if it does not exist."""
        with _store_errors(self.address, "read"):
            store, folder = _store(self.address)
            if not store.isdir(folder):
                return set()
            store.invalidate_cache(folder)
            paths = store.ls(folder, detail=False)
            return {_relative(path, folder) for path in paths} - {"", "."}

    def read(self, name: str) -> bytes:
        """Return the content of the file `name`."""
        with open_file(self.at(name)) as file:
            return file.read()

    def create(self) -> None:
        """Create the folder if it is local. Stores have no folders."""
        if is_local(self.address):
            with _store_errors(self.address, "created"):
                _path(self.address).mkdir(parents=True, exist_ok=True)

    def write(self, name: str, content: bytes) -> None:
        """Write the file `name` atomically."""
        self.create()
        if is_local(self.address):
            # A unique name: a cluster that wrongly assumes a failure has a shard written twice.
            unfinished = _path(self.at(f".{name}.{secrets.token_hex(4)}{UNFINISHED}"))
            with atomic_bytes(_path(self.at(name)), beside=unfinished) as file:
                file.write(content)
        else:
            with _store_errors(self.at(name), "written"):
                store, path = _store(self.at(name))
                store.pipe_file(path, content)

    def remove(self, *names: str) -> None:
        """Remove the files `names` if they exist, and the folder if it is then empty."""
        for name in names:
            remove(self.at(name))
        if is_local(self.address):
            with suppress(OSError):  # not empty
                _path(self.address).rmdir()


def _path(address: str) -> Path:
    return Path(address.removeprefix("file://"))


def _store(address: str) -> tuple[Any, str]:
    """Return the fsspec file system of `address`, and the path in it."""
    if is_local(address):
        from fsspec.implementations.local import LocalFileSystem

        return LocalFileSystem(), str(_path(address).absolute())
    from fsspec.core import url_to_fs

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
