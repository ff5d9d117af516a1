import json
import threading
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from reelsense.bundle import CARD, Calibration, read_bundle, write_bundle
from reelsense.errors import BundleError, ModelDirectoryError
from reelsense.model_directory import CHALLENGER, CHAMPION, DECISIONS, ModelDirectory
from tests import tiny

NO_DETAILS: MappingProxyType[str, Any] = MappingProxyType({})


@pytest.fixture
def directory(tmp_path: Path) -> ModelDirectory:
    return ModelDirectory(tmp_path / "models")


def write(folder: Path, temperature: float, card: str = "# tiny\n") -> Path:
    """Write a bundle whose version depends on `temperature`."""
    bundle = tiny.bundle()
    manifest = replace(bundle.manifest, calibration=Calibration(temperature=temperature))
    write_bundle(folder, replace(bundle, manifest=manifest, card=card))
    return folder


def added(directory: ModelDirectory, count: int) -> list[str]:
    """Add bundles; return their versions."""
    source = directory.path.parent / "source"
    return [directory.add(write(source, 1.0 + n)) for n in range(count)]


def promote(directory: ModelDirectory, version: str, *, accepted: bool = True) -> None:
    champion = directory.aliases().get(CHAMPION)
    directory.promote(version, champion, NO_DETAILS, accepted=accepted)


def champion(directory: ModelDirectory) -> str | None:
    return directory.aliases().get(CHAMPION)


def test_add_names_the_copy_after_its_content(directory: ModelDirectory, tmp_path: Path) -> None:
    source = write(tmp_path / "source", 2.0)
    version = directory.add(source, CHALLENGER)
    assert version == read_bundle(source).manifest.version
    assert read_bundle(directory.path / version) == replace(
        read_bundle(source), network=(directory.path / version / "model.onnx")
    )
    assert directory.versions() == [version]
    assert directory.aliases() == {CHALLENGER: version}
    assert directory.find(CHALLENGER) == directory.find(version) == version
    # The aliases still work after the directory was moved.
    moved = ModelDirectory(directory.path.rename(tmp_path / "moved"))
    assert read_bundle(moved.path / CHALLENGER).manifest.version == version


def test_add_keeps_a_version_that_exists(directory: ModelDirectory, tmp_path: Path) -> None:
    source = write(tmp_path / "source", 2.0)
    version = directory.add(source)
    before = (directory.path / version).stat().st_ino
    assert directory.add(source, CHALLENGER) == version
    assert (directory.path / version).stat().st_ino == before
    assert {path.name for path in directory.path.iterdir()} == {version, CHALLENGER}
    with pytest.raises(ModelDirectoryError) as raised:
        directory.add(write(tmp_path / "other", 2.0, card="# another\n"))
    assert raised.value.code == "version-exists"
    assert read_bundle(directory.path / version).card == "# tiny\n"


def test_add_rejects_a_damaged_bundle(directory: ModelDirectory, tmp_path: Path) -> None:
    source = write(tmp_path / "source", 2.0)
    (source / CARD).write_text("changed")
    with pytest.raises(BundleError) as raised:
        directory.add(source)
    assert raised.value.code == "bundle-changed"
    assert not directory.path.exists()


def test_version_with_other_content_is_an_error(directory: ModelDirectory, tmp_path: Path) -> None:
    first, second = added(directory, 2)
    write(directory.path / first, 9.0)
    with pytest.raises(BundleError) as raised:
        directory.read(first)
    assert raised.value.code == "version-changed"
    damaged, valid = sorted(directory.models(), key=lambda model: model.bundle is not None)
    assert (damaged.name, valid.name) == (first, second)
    assert "version" in str(damaged.error)


def test_versions_are_in_the_order_in_which_they_were_added(directory: ModelDirectory) -> None:
    versions = added(directory, 4)
    assert directory.versions() == versions
    assert sorted(versions) != versions


@pytest.mark.parametrize("name", ["champion", "0123456789ab", "..", ""])
def test_find_rejects_unknown_versions(directory: ModelDirectory, name: str) -> None:
    added(directory, 1)
    with pytest.raises(ModelDirectoryError) as raised:
        directory.find(name)
    assert raised.value.code == "no-such-version"


def test_missing_directory_is_an_error(directory: ModelDirectory) -> None:
    for call in (directory.versions, directory.rollback, lambda: directory.find("x")):
        with pytest.raises(ModelDirectoryError) as raised:
            call()
        assert raised.value.code == "no-model-directory"


def test_promote_moves_the_alias_and_records_the_decision(directory: ModelDirectory) -> None:
    first, second = added(directory, 2)
    promote(directory, first)
    directory.add(directory.path / second, CHALLENGER)
    directory.promote(second, first, {"forced": False}, accepted=False)
    assert directory.aliases() == {CHAMPION: first, CHALLENGER: second}
    directory.promote(second, first, {"forced": True}, accepted=True)
    assert directory.aliases() == {CHAMPION: second}
    assert [
        (decision["champion"], decision["version"], decision["accepted"], decision.get("forced"))
        for decision in directory.decisions()
    ] == [
        (None, first, True, None),
        (first, second, False, False),
        (first, second, True, True),
    ]


def test_promote_rejects_a_comparison_with_an_earlier_champion(directory: ModelDirectory) -> None:
    first, second = added(directory, 2)
    promote(directory, first)
    with pytest.raises(ModelDirectoryError) as raised:
        directory.promote(second, None, NO_DETAILS, accepted=True)
    assert raised.value.code == "champion-changed"
    assert champion(directory) == first
    assert len(directory.decisions()) == 1


def test_rollback_goes_back_one_champion_at_a_time(directory: ModelDirectory) -> None:
    first, second, third = added(directory, 3)
    for version in (first, second, third):
        promote(directory, version)
    assert directory.rollback() == champion(directory) == second
    promote(directory, third)
    assert [directory.rollback(), directory.rollback()] == [second, first]
    with pytest.raises(ModelDirectoryError) as raised:
        directory.rollback()
    assert raised.value.code == "no-previous-champion"
    assert champion(directory) == first
    assert [decision["action"] for decision in directory.decisions()] == [
        *["promote"] * 3, "rollback", "promote", "rollback", "rollback"
    ]  # fmt: skip


def test_rollback_skips_a_promotion_that_did_not_happen(directory: ModelDirectory) -> None:
    """The process died after it had recorded the promotion of `third`."""
    first, second, third = added(directory, 3)
    promote(directory, first)
    promote(directory, second)
    promote(directory, third)
    (directory.path / CHAMPION).unlink()
    (directory.path / CHAMPION).symlink_to(second)
    assert directory.rollback() == first


def test_rejected_version_is_no_target_of_a_rollback(directory: ModelDirectory) -> None:
    first, second, third = added(directory, 3)
    promote(directory, first)
    promote(directory, second)
    promote(directory, third, accepted=False)
    assert directory.rollback() == first


def test_promote_rejects_a_version_that_was_removed_meanwhile(directory: ModelDirectory) -> None:
    first, second = added(directory, 2)
    promote(directory, first)
    directory.remove(second)
    with pytest.raises(ModelDirectoryError) as raised:
        promote(directory, second)
    assert raised.value.code == "no-such-version"
    assert (champion(directory), len(directory.decisions())) == (first, 1)


def test_remove_keeps_versions_that_are_needed(directory: ModelDirectory) -> None:
    first, second, third, fourth = added(directory, 4)
    for version in (first, second, third):
        promote(directory, version)
    directory.add(directory.path / fourth, CHALLENGER)
    for version in (second, third, fourth):
        with pytest.raises(ModelDirectoryError) as raised:
            directory.remove(version)
        assert raised.value.code == "version-in-use"
    directory.remove(first)
    assert directory.versions() == [second, third, fourth]
    assert directory.rollback() == second
    with pytest.raises(ModelDirectoryError) as raised:
        directory.rollback()
    assert raised.value.code == "no-previous-champion"


def test_damaged_record_of_decisions_is_an_error(directory: ModelDirectory) -> None:
    [version] = added(directory, 1)
    (directory.path / DECISIONS).write_text('{"action": "prom')
    with pytest.raises(ModelDirectoryError) as raised:
        directory.remove(version)
    assert raised.value.code == "invalid-decisions"


def test_champion_always_exists_while_it_changes(directory: ModelDirectory) -> None:
    """Threads promote and roll back; a reader always finds one of the two versions."""
    first, second = added(directory, 2)
    promote(directory, first)
    ended = threading.Event()

    def change() -> None:
        for _ in range(50):
            promote(directory, second)
            directory.rollback()
        ended.set()

    changer = threading.Thread(target=change)
    changer.start()
    seen = set()
    while not ended.is_set():
        seen.add(read_bundle((directory.path / CHAMPION).resolve()).manifest.version)
    changer.join()
    assert seen <= {first, second}
    lines = (directory.path / DECISIONS).read_text().splitlines()
    assert len([json.loads(line) for line in lines]) == 101
