"""Output: no file of the user is lost, and an interrupted run resumes."""

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from reelsense.bulk.output import Output
from reelsense.bulk.plan import plan
from reelsense.errors import DatasetError
from reelsense.tables.storage import find_files
from tests import tiny
from tests.bulk.test_shards import Interrupted, read_back, tree, write_as, write_jsonl
from tests.scoring import score_file

CLASSIFIER = tiny.classifier()


@pytest.mark.parametrize("output", ["in.csv", "./in.csv", "link.csv", "ABSOLUTE"])
def test_output_never_overwrites_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    monkeypatch.chdir(tmp_path)
    before = write_as(tmp_path, ".csv").read_bytes()
    (tmp_path / "link.csv").symlink_to("in.csv")
    output = str(tmp_path / "in.csv") if output == "ABSOLUTE" else output
    with pytest.raises(DatasetError) as error:
        score_file(CLASSIFIER, "in.csv", output)
    assert error.value.code == "output-is-input"
    assert (tmp_path / "in.csv").read_bytes() == before


@pytest.mark.parametrize("output", ["in/out.jsonl", "./in/out.jsonl", "in/out/", "ABSOLUTE"])
def test_output_inside_input_folder_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    write_jsonl(tmp_path / "in" / "a.jsonl", [{"text": "good"}, {"text": ""}])
    output = str(tmp_path / "in" / "out.jsonl") if output == "ABSOLUTE" else output
    for _ in range(2):
        score_file(CLASSIFIER, "in", output)
    parts = [tmp_path / "in" / "out.jsonl", *(tmp_path / "in" / "out").glob("part-*")]
    [part] = [path for path in parts if path.exists()]
    assert len(read_back(part)) == 2


def test_output_keeps_bad_rows_of_another_output(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", [{"text": ""}])
    score_file(CLASSIFIER, source, tmp_path / "out.csv")
    repaired = write_jsonl(tmp_path / "out.csv.bad-rows.jsonl", [{"text": "good"}])
    score_file(CLASSIFIER, repaired, tmp_path / "out.jsonl")
    assert repaired.exists()
    with pytest.raises(DatasetError) as error:
        score_file(CLASSIFIER, repaired, tmp_path / "out.csv")
    assert error.value.code == "output-is-input"


def test_input_folder_skips_files_that_are_not_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    write_as(tmp_path / "in", ".csv")
    (tmp_path / "in" / "README.md").touch()
    score_file(CLASSIFIER, tmp_path / "in", tmp_path / "out.csv")
    assert f"skipped (not a table): {tmp_path}/in/README.md" in capsys.readouterr().err
    assert len(read_back(tmp_path / "out.csv")) == 10


def test_output_resumes_when_the_input_folder_gets_another_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.txt", "b.txt"):
        (tmp_path / "in" / name).write_text("good\nbad\n")
        score_file(CLASSIFIER, tmp_path / "in", f"{tmp_path}/out/", shard_rows=2)
    assert "resumed: 1 shard (2 rows)" in capsys.readouterr().err


def test_jsonl_columns_are_the_keys_of_the_first_rows(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name, rows in {"a": [], "b": [{"text": "good"}], "c": [{"text": "bad", "id": "1"}]}.items():
        write_jsonl(tmp_path / "in" / f"{name}.jsonl", rows)
    score_file(CLASSIFIER, tmp_path / "in", tmp_path / "out.csv")
    rows_written = read_back(tmp_path / "out.csv")
    assert [(row["label"], row["id"]) for row in rows_written] == [
        ("positive", ""),
        ("negative", "1"),
    ]


@pytest.mark.parametrize("source", ["in.csv", "./in.csv", "file://FOLDER/in.csv"])
def test_output_of_one_file_has_no_column_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_as(tmp_path, ".csv")
    score_file(CLASSIFIER, source.replace("FOLDER", str(tmp_path)), "out.csv")
    assert "file" not in read_back(tmp_path / "out.csv")[0]


def test_find_files_follows_links_to_files(tmp_path: Path) -> None:
    (tmp_path / "real.csv").write_text("text\ngood\n")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link.csv").symlink_to("../real.csv")
    (tmp_path / "in" / "gone.csv").symlink_to("../gone.csv")
    (tmp_path / "in" / "loop").symlink_to("../in")
    for source in (tmp_path / "in", f"{tmp_path}/in/*.csv"):
        score_file(CLASSIFIER, source, tmp_path / "out.csv")
        assert len(read_back(tmp_path / "out.csv")) == 1


def test_file_names_with_special_characters_are_used_as_they_are(tmp_path: Path) -> None:
    name = "a::b [1] 100% *é.csv"
    (tmp_path / name).write_text("text\ngood\n\n")
    for output in (tmp_path / "x::y.csv", f"file://{tmp_path}/z.csv"):
        score_file(CLASSIFIER, tmp_path / name, output)
    assert {path.name for path in tmp_path.iterdir()} == {name, "x::y.csv", "z.csv"}


def test_output_is_locked(tmp_path: Path) -> None:
    source = write_as(tmp_path, ".csv")
    task, _ = plan(find_files(str(source)), CLASSIFIER.manifest)
    with (
        Output(f"{tmp_path}/out.csv", task),
        pytest.raises(DatasetError) as error,
    ):
        score_file(CLASSIFIER, source, tmp_path / "out.csv")
    assert error.value.code == "output-locked"
    score_file(CLASSIFIER, source, tmp_path / "out.csv")
    assert {path.name for path in tmp_path.iterdir()} == {"in.csv", "out.csv"}


def test_missing_part_is_scored_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_as(tmp_path, ".csv")
    score_file(CLASSIFIER, source, f"{tmp_path}/out/", shard_rows=4)
    before = tree(tmp_path / "out")
    (tmp_path / "out" / "part-000000-000001.csv").unlink()
    (tmp_path / "out" / "part-time.csv").write_text("mine")
    capsys.readouterr()
    score_file(CLASSIFIER, source, f"{tmp_path}/out/", shard_rows=4)
    assert "resumed: 2 shards (6 rows)" in capsys.readouterr().err
    assert tree(tmp_path / "out") == before | {"part-time.csv": b"mine"}


class LimitedFileChanges:
    """Allows a number of file changes; later ones raise `Interrupted`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, changes: int) -> None:
        self.left = changes
        functions = [(os, "replace"), (os, "remove")]
        functions += [(Path, name) for name in ("unlink", "rmdir", "mkdir")]  # type: ignore[misc]
        for owner, name in functions:
            monkeypatch.setattr(owner, name, self._counted(getattr(owner, name)))

    def _counted(self, change: Callable[..., object]) -> Callable[..., object]:
        def counted(*args: object, **options: object) -> object:
            if not self.left:
                raise Interrupted
            self.left -= 1
            return change(*args, **options)

        return counted


@pytest.mark.parametrize("name", ["out.jsonl", "out/"])
@pytest.mark.parametrize("history", ["new", "input changed", "input changed and restored"])
def test_output_is_the_same_after_interruption_at_any_file_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, history: str
) -> None:
    source, target = tmp_path / "in.txt", f"{tmp_path}/{name}"
    before, after = "good\n\nbad\nawful\n\n", "good\n\nbad\ngreat\n"
    expected = {}
    for text in (before, after):
        source.write_text(text)
        score_file(CLASSIFIER, source, target, shard_rows=1)
        expected[text] = tree(tmp_path)
        remove_outputs(tmp_path)
    for n in range(1000):
        source.write_text(before)
        if history != "new":
            score_file(CLASSIFIER, source, target, shard_rows=1)
            source.write_text(after)
        with monkeypatch.context() as patch:
            changes = LimitedFileChanges(patch, n)
            with suppress(Interrupted, DatasetError):  # io_errors map Interrupted to DatasetError
                score_file(CLASSIFIER, source, target, shard_rows=1)
        if changes.left:
            break
        if history == "input changed and restored":
            source.write_text(before)
        score_file(CLASSIFIER, source, target, shard_rows=1)
        assert tree(tmp_path) == expected[source.read_text()], n
        remove_outputs(tmp_path)
    assert n > 15


def remove_outputs(folder: Path) -> None:
    for path in folder.glob("out*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
