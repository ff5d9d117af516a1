"""Where files are: paths, and the addresses that fsspec knows, such as s3://bucket/folder.

Finds, reads and writes them, whole or not at all. Does not know what is in them.
"""

from __future__ import annotations

import glob
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from stat import S_ISREG
from typing import IO, Any

from reelsense.errors import DatasetError, MissingExtraError, ReelsenseError
from reelsense.files import atomic_bytes

UNFINISHED = ".part"
"""How the names end of files that are being written; they begin with a dot."""

_PATTERN = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class FileInfo:
    """A file that is there."""

    name: str
    """As the user calls it."""
    address: str
    """The same from everywhere: of a path, the absolute one."""
    size: int | None
    """Bytes; None where that is not known, as of a pipe."""


def is_local(address: str) -> bool:
    """Say whether `address` is a path of this machine."""
    return "://" not in address or address.startswith("file://")


def whole(address: str) -> str:
    """Return `address` so that it is the same from everywhere, however it was spelled."""
    if is_local(address):
        return os.path.realpath(_path(address))
    with _told(address, "used"):
        store, path = _store(address)
        return str(store.unstrip_protocol(path))


def find(address: str) -> list[FileInfo]:
    """Return the file at `address`, those in the folder, or those that fit the pattern, in order.

    A folder is searched with its folders. What begins with . or _ is left out, unless it is named.
    Raises DatasetError if there is nothing.
    """
    with _told(address, "read"):
        found = _find_here(address) if is_local(address) else _find_there(address)
    if not found:
        raise DatasetError(f"{address}: no files found", code="no-files")
    return sorted(found, key=lambda each: each.name)


def _find_here(address: str) -> list[FileInfo]:
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
    return [FileInfo(str(each), str(each.absolute()), each.stat().st_size) for each in files]


def _walk(folder: str) -> Iterator[str]:
    def fail(error: OSError) -> None:
        raise error

    for parent, _, names in os.walk(folder, onerror=fail, followlinks=False):
        yield from (str(Path(parent, name)) for name in names)


def _find_there(address: str) -> list[FileInfo]:
    store, path = _store(address)
    if store.isdir(path):
        inside = store.find(path, detail=True, on_error="raise")
        files = [file for name, file in inside.items() if not _is_hidden(_inside(name, path))]
    elif _PATTERN & set(path):
        files = list(store.glob(path, detail=True).values())
    else:
        return [FileInfo(address, address, store.info(path).get("size"))]
    names = [(store.unstrip_protocol(file["name"]), file) for file in files]
    return [
        FileInfo(name, name, file.get("size"))
        for name, file in names
        if file["type"] == "file" and not name.endswith("/")  # a marker of a folder
    ]


@contextmanager
def reading(address: str) -> Iterator[IO[bytes]]:
    """Open the file at `address`. Raises DatasetError if that cannot be."""
    with _told(address, "read"):
        if is_local(address):
            file: IO[bytes] = _path(address).open("rb")
        else:
            store, path = _store(address)
            file = store.open(path, "rb")
    with file:
        yield file


@contextmanager
def replacing(address: str) -> Iterator[IO[bytes]]:
    """Open a file that takes the place of the one at `address` once the block ends well."""
    if is_local(address):
        with atomic_bytes(_path(address)) as file:
            yield file
        return
    with tempfile.TemporaryFile() as kept:
        yield kept
        kept.seek(0)
        with _told(address, "written"):
            store, path = _store(address)
            with store.open(path, "wb") as remote:
                shutil.copyfileobj(kept, remote, 2**20)


class OutputFolder:
    """A folder of files, made when the first is written."""

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")

    def at(self, name: str) -> str:
        """Return the address of the file `name`."""
        return f"{self.address}/{name}"

    def names(self) -> set[str]:
        """Return the names of what is there; none if there is no folder."""
        with _told(self.address, "read"):
            if is_local(self.address):
                path = _path(self.address)
                return {each.name for each in path.iterdir()} if path.exists() else set()
            store, where = _store(self.address)
            if not store.isdir(where):
                return set()
            store.invalidate_cache(where)
            names = store.ls(where, detail=False)
            return {_inside(name, where) for name in names} - {"", "."}

    def read(self, name: str) -> bytes:
        """Return what is in the file `name`."""
        with reading(self.at(name)) as file:
            return file.read()

    def write(self, name: str, content: bytes) -> None:
        """Write the file `name`, whole or not at all."""
        if not is_local(self.address):
            with replacing(self.at(name)) as file:
                file.write(content)
            return
        folder = _path(self.address)
        folder.mkdir(parents=True, exist_ok=True)
        # Of its own, because two machines may be at it, one of which is thought to be dead.
        beside = folder / f".{name}.{secrets.token_hex(4)}{UNFINISHED}"
        with atomic_bytes(folder / name, beside=beside) as file:
            file.write(content)

    def remove(self, *names: str) -> None:
        """Remove the files `names`, if they are there, and the folder if it is empty then."""
        for name in names:
            remove(self.at(name))
        if is_local(self.address):
            with suppress(OSError):  # where other things are in it
                _path(self.address).rmdir()


def is_folder(address: str) -> bool:
    """Say whether `address` means a folder: it ends with /, or there is one."""
    return address.endswith("/") or (is_local(address) and _path(address).is_dir())


def remove(address: str) -> None:
    """Remove the file at `address` if there is one."""
    with _told(address, "removed"), suppress(FileNotFoundError):
        if is_local(address):
            _path(address).unlink()
        else:
            store, path = _store(address)
            store.rm_file(path)


def _path(address: str) -> Path:
    return Path(address.removeprefix("file://"))


def _store(address: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs  # those who name no addresses do without

    try:
        store, path = url_to_fs(address)
    except ImportError as error:
        if not address.startswith(("s3://", "s3a://")):
            raise  # fsspec says what to install
        raise MissingExtraError(
            f"{address} needs s3fs, which is not installed: pip install 'reelsense[s3]', or in a "
            "clone: pip install --constraint constraints.txt '.[s3]'"
        ) from error
    return store, path


def _inside(name: str, folder: str) -> str:
    """Return `name` as it is called in the `folder` above it."""
    return str(PurePosixPath(name).relative_to(PurePosixPath(folder)))


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "_")) for part in PurePosixPath(name).parts)


@contextmanager
def _told(address: str, verb: str) -> Iterator[None]:
    """Turn what goes wrong into a DatasetError: every store has errors of its own."""
    try:
        yield
    except ReelsenseError:
        raise
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        code = "unreadable-file" if verb == "read" else "unwritable-file"
        raise DatasetError(f"{address} cannot be {verb}: {reason}", code=code) from error
