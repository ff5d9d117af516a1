import os
from pathlib import Path

import pytest

from reelsense.errors import DatasetError
from reelsense.tables.storage import OutputFolder, find_files


def names(address: str) -> list[str]:
    return [file.name for file in find_files(address)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("in/a.csv", "in/.b.csv", "in/_c.csv", "in/d/e.csv", "in/_f/g.csv", "in/[h].csv"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("text\n")
    return tmp_path


def test_find_files_of_folder_skips_hidden_names(folder: Path) -> None:
    assert names("in") == names("./in/") == ["in/[h].csv", "in/a.csv", "in/d/e.csv"]
    assert names(f"{folder}/in")[1:] == [f"{folder}/in/a.csv", f"{folder}/in/d/e.csv"]
    assert names("in/_f") == ["in/_f/g.csv"]


def test_find_files_matches_patterns_as_a_shell(folder: Path) -> None:
    assert names("in/*.csv") == ["in/[h].csv", "in/_c.csv", "in/a.csv"]
    assert names("in/**/[ae].csv") == ["in/a.csv", "in/d/e.csv"]
    assert names("in/.*.csv") == ["in/.b.csv"]


def test_find_files_prefers_existing_name_to_pattern(folder: Path) -> None:
    assert names("in/[h].csv") == ["in/[h].csv"]


def test_find_files_knows_no_size_of_pipes(folder: Path) -> None:
    os.mkfifo("pipe")
    Path("link").symlink_to("pipe")
    for address in ("pipe", "link"):
        [file] = find_files(address)
        assert (file.name, file.address, file.size) == (address, f"{folder}/{address}", None)
    [file] = find_files("in/a.csv")
    assert file.size == 5


@pytest.mark.parametrize(("address", "code"), [("none", "unreadable-file"), ("none/*", "no-files")])
def test_find_files_rejects_missing_files(folder: Path, address: str, code: str) -> None:
    with pytest.raises(DatasetError) as error:
        find_files(address)
    assert error.value.code == code


def test_output_folder_cannot_replace_a_file(folder: Path) -> None:
    with pytest.raises(DatasetError) as error:
        OutputFolder("in/a.csv").write("part", b"")
    assert error.value.code == "unwritable-file"
