import ctypes
import errno
import sys
from pathlib import Path

import pytest

from reelsense.errors import DatasetError
from reelsense.files import atomic_bytes, exchange, read_text, write_atomically


def test_atomic_bytes_replaces_file_when_complete(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_atomically(path, "old")
    with atomic_bytes(path) as file:
        file.write(b"new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_atomic_bytes_keeps_old_file_on_failure(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_atomically(path, "old")
    with pytest.raises(KeyboardInterrupt), atomic_bytes(path) as file:  # noqa: PT012  # cut in the middle
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_atomic_bytes_names_the_file_that_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "a.txt"
    with pytest.raises(FileNotFoundError) as raised:
        write_atomically(path, "new")
    assert raised.value.filename == str(path)


def test_exchange_swaps_folders(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        folder.mkdir()
        (folder / folder.name).touch()
    assert exchange(first, second) == (sys.platform == "linux")
    if sys.platform == "linux":
        assert (first / "b").exists()
        assert (second / "a").exists()
        with pytest.raises(FileNotFoundError):
            exchange(first, tmp_path / "nothing")


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EINVAL, errno.EPERM])
def test_exchange_does_nothing_if_the_system_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    class Library:
        @staticmethod
        def renameat2(*_: object) -> int:
            ctypes.set_errno(code)
            return -1

    monkeypatch.setattr(ctypes, "CDLL", lambda *_args, **_options: Library)
    assert not exchange(tmp_path, tmp_path / "nothing")
    monkeypatch.setattr(ctypes, "CDLL", lambda *_args, **_options: object())
    assert not exchange(tmp_path, tmp_path / "nothing")


def test_read_text_names_the_file_and_the_line_that_is_not_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with pytest.raises(DatasetError, match=r"a\.txt: No such file") as caught:
        read_text(path, DatasetError)
    assert caught.value.code == "unreadable"
    path.write_bytes(b"a\ncaf\xe9\n")
    with pytest.raises(DatasetError, match=r"a\.txt, line 2") as caught:
        read_text(path, DatasetError)
    assert caught.value.code == "unreadable"
    path.write_bytes("caf\u00e9\r\n".encode())
    assert read_text(path, DatasetError) == "caf\u00e9\n"
