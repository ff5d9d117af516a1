import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelsense import bundle as bundles
from reelsense.errors import BundleError
from tests import tiny

PARTS = ["model.onnx", "tokenizer.json", "MODEL_CARD.md", "manifest.json"]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    bundles.write(folder, tiny.bundle(network=bytes(range(256))))
    return folder


def test_what_was_written_is_read(written: Path) -> None:
    read = bundles.read(written)
    assert read.network == bytes(range(256))
    assert read.manifest.labels == ("negative", "positive")
    assert len(read.manifest.version) == 12
    assert sorted(path.name for path in written.iterdir()) == sorted(PARTS)


def test_the_version_follows_the_network_and_not_the_card(tmp_path: Path) -> None:
    one = bundles.write(tmp_path / "a", tiny.bundle(network=b"1"))
    same = bundles.write(tmp_path / "b", tiny.bundle(network=b"1", window=8))
    other = bundles.write(tmp_path / "c", tiny.bundle(network=b"2"))
    assert one.version == same.version != other.version


@pytest.mark.parametrize("name", PARTS)
def test_a_missing_file_is_named(written: Path, tmp_path: Path, name: str) -> None:
    folder = copy(written, tmp_path / "bundle")
    (folder / name).unlink()
    with pytest.raises(BundleError, match=name):
        bundles.read(folder)


@given(st.sampled_from(PARTS), st.integers(0, 10_000), st.integers(1, 255))
def test_any_changed_byte_is_refused_and_the_file_named(
    tmp_path_factory: pytest.TempPathFactory, written: Path, name: str, place: int, change: int
) -> None:
    folder = copy(written, tmp_path_factory.mktemp("changed") / "bundle")
    content = bytearray((folder / name).read_bytes())
    content[place % len(content)] ^= change
    (folder / name).write_bytes(content)
    with pytest.raises(BundleError, match=name):
        bundles.read(folder)


def test_a_newer_format_is_refused(written: Path, tmp_path: Path) -> None:
    folder = copy(written, tmp_path / "bundle")
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": bundles.FORMAT + 1}))
    with pytest.raises(BundleError, match=r"manifest\.json has format 2.*--upgrade"):
        bundles.read(folder)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="there is no model there"):
        bundles.read(tmp_path / "nothing")


def test_a_folder_of_something_else_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(BundleError, match="something else"):
        bundles.write(tmp_path, tiny.bundle())
    assert (tmp_path / "holiday.jpg").exists()


def test_a_folder_with_another_manifest_is_not_overwritten(written: Path, tmp_path: Path) -> None:
    folder = copy(written, tmp_path / "extension")
    (folder / "thesis.docx").touch()
    with pytest.raises(BundleError, match="something else"):
        bundles.write(folder, tiny.bundle())
    assert (folder / "thesis.docx").exists()
    with pytest.raises(BundleError, match="is a file"):
        bundles.write(folder / "thesis.docx", tiny.bundle())


def test_a_sealed_manifest_without_a_key(written: Path, tmp_path: Path) -> None:
    folder = copy(written, tmp_path / "bundle")
    content = json.loads((folder / "manifest.json").read_text())
    del content["labels"], content["sha256"]
    (folder / "manifest.json").write_bytes(bundles._serialize(content))
    with pytest.raises(BundleError, match=r"manifest\.json lacks a key"):
        bundles.read(folder)


def test_a_bundle_takes_the_place_of_an_earlier_one(written: Path, tmp_path: Path) -> None:
    folder = copy(written, tmp_path / "bundle")
    bundles.write(folder, tiny.bundle(network=b"new"))
    assert bundles.read(folder).network == b"new"


def copy(folder: Path, to: Path) -> Path:
    to.mkdir(parents=True)
    for path in folder.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    return to
