from pathlib import Path

import pytest

from reelsense.errors import DatasetError
from reelsense.files import atomic_bytes, read_text, write_atomically


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
