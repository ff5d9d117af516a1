"""Where files are: paths, and the addresses that fsspec knows, such as s3://bucket/folder.

Finds, reads and writes them, whole or not at all. Does not know what is in them.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from reelsense.errors import DatasetError
from reelsense.files import atomic_bytes

_UNFINISHED = ".part"

_PATTERN = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Found:
    """A file that is there."""

    name: str
    """As the user calls it."""
    address: str
    """The same from everywhere: of a path, the absolute one."""
    size: int | None
    """Bytes; None where that is not known, as of a pipe."""


def is_local(address: str) -> bool:
    """Say whether `address` is a path of this machine."""
    return "://" not in address


def find(address: str) -> list[Found]:
    """Return the file at `address`, those in the folder, or those that fit the pattern, in order.

    A folder is searched with its folders; what begins with . or _ there is left out. Raises
    DatasetError if there is nothing.
    """
    if is_local(address) and Path(address).exists() and not Path(address).is_dir():
        path = Path(address)
        size = path.stat().st_size if path.is_file() else None
        return [Found(address, str(path.absolute()), size)]
    with _told(address, "read"):
        store, where = _store(address)
        if store.isdir(where):
            kept = store.find(where, detail=True)
            files = [found for name, found in kept.items() if not _is_hidden(name, where)]
        elif _PATTERN & set(where):
            files = [each for each in store.glob(where, detail=True).values() if _is_file(each)]
        else:
            files = [store.info(where)]
        found = [_found(store, each, address) for each in files]
    if not found:
        raise DatasetError(f"{address}: there are no files")
    return sorted(found, key=lambda each: each.address)


@contextmanager
def reading(address: str) -> Iterator[IO[bytes]]:
    """Open the file at `address`. Raises DatasetError if that cannot be."""
    with _told(address, "read"):
        if is_local(address):
            file: IO[bytes] = Path(address).open("rb")  # noqa: SIM115  # closed below
        else:
            store, path = _store(address)
            file = store.open(path, "rb")
    with file:
        yield file


@contextmanager
def replacing(address: str) -> Iterator[IO[bytes]]:
    """Open a file that takes the place of the one at `address` once the block ends well."""
    if is_local(address):
        with atomic_bytes(Path(address)) as file:
            yield file
        return
    with tempfile.TemporaryFile() as kept:
        yield kept
        kept.seek(0)
        with _told(address, "written"):
            store, path = _store(address)
            with store.open(path, "wb") as remote:
                shutil.copyfileobj(kept, remote, 2**20)


class Folder:
    """A folder of files, made when the first is written."""

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")

    def at(self, name: str) -> str:
        """Return the address of the file `name`."""
        return f"{self.address}/{name}"

    def names(self) -> set[str]:
        """Return the names of what is there; none if there is no folder."""
        with _told(self.address, "read"):
            store, path = _store(self.address)
            if store.isfile(path):
                raise NotADirectoryError(0, "is a file, not a folder")
            if not store.isdir(path):
                return set()
            store.invalidate_cache(path)
            return {PurePosixPath(name).name for name in store.ls(path, detail=False)}

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
        folder = Path(self.address)
        folder.mkdir(parents=True, exist_ok=True)
        # Of its own, because two machines may be at it, one of which is thought to be dead.
        beside = folder / f".{name}.{secrets.token_hex(4)}{_UNFINISHED}"
        with atomic_bytes(folder / name, beside=beside) as file:
            file.write(content)

    def remove(self, *names: str) -> None:
        """Remove the files `names`, if they are there, and the folder if it is empty then."""
        with _told(self.address, "changed"):
            store, path = _store(self.address)
            for name in names:
                with suppress(FileNotFoundError):
                    store.rm_file(f"{path}/{name}")
        if is_local(self.address):
            with suppress(OSError):  # where other things are in it
                Path(self.address).rmdir()


def is_folder(address: str) -> bool:
    """Say whether `address` means a folder: it ends with /, or there is one."""
    return address.endswith("/") or bool(is_local(address) and Path(address).is_dir())


def remove(address: str) -> None:
    """Remove the file at `address` if there is one."""
    with _told(address, "changed"):
        store, path = _store(address)
        if store.exists(path):
            store.rm_file(path)


def _store(address: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs  # those who name no files do without

    store, path = url_to_fs(address)
    return store, path


def _found(store: Any, info: dict[str, Any], address: str) -> Found:
    path = info["name"]
    if not is_local(address):
        whole = store.unstrip_protocol(path)
        return Found(whole, whole, info.get("size"))
    name = path if Path(address).is_absolute() else os.path.relpath(path)
    return Found(name, path, info.get("size"))


def _is_file(info: dict[str, Any]) -> bool:
    return bool(info["type"] == "file")


def _is_hidden(name: str, folder: str) -> bool:
    inside = PurePosixPath(name).relative_to(PurePosixPath(folder)).parts
    return any(part.startswith((".", "_")) for part in inside)


@contextmanager
def _told(address: str, verb: str) -> Iterator[None]:
    """Turn what goes wrong into a DatasetError: every store has errors of its own."""
    try:
        yield
    except DatasetError:
        raise
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise DatasetError(f"{address} cannot be {verb}: {reason}") from error
