import hashlib
import json
import pickle
import re
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelsense.bundle import (
    CARD,
    EVALUATION,
    FORMAT,
    MANIFEST,
    NETWORK,
    REFERENCE_PROFILE,
    TRAINING_TEXTS,
    Calibration,
    LengthGroup,
    Manifest,
    RiskControl,
    Threshold,
    check_target,
    read_bundle,
    retry_if_replaced,
    write_bundle,
)
from reelsense.bundle.manifest import plural
from reelsense.bundle.serialization import PRESENTATION_FORMAT, parse, serialize
from reelsense.errors import BundleError
from tests import cascades, tiny, tiny_network

PARTS = ["model.onnx", "tokenizer.json", "MODEL_CARD.md", "manifest.json"]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    write_bundle(folder, tiny.bundle(network=bytes(range(256))))
    return folder


def test_bundle_is_read_as_written(written: Path) -> None:
    read = read_bundle(written)
    assert isinstance(read.network, Path)
    assert read.network.read_bytes() == bytes(range(256))
    assert read.manifest.labels == ("negative", "positive")
    assert len(read.manifest.version) == 12
    assert sorted(path.name for path in written.iterdir()) == sorted(PARTS)


def test_version_depends_on_what_affects_predictions_only(tmp_path: Path) -> None:
    bundle = tiny.bundle(network=b"1")
    calibrated = replace(bundle.manifest, calibration=Calibration(temperature=2.0))
    variants = [
        bundle,
        replace(bundle, card="another"),
        tiny.bundle(network=b"2"),
        tiny.bundle(network=b"1", window=8),
        replace(bundle, manifest=calibrated),
    ]
    first, card, *others = (
        write_bundle(tmp_path / str(n), variant).version for n, variant in enumerate(variants)
    )
    assert first == card
    assert len({first, *others}) == 4


def test_calibration_and_thresholds_are_read_as_written(tmp_path: Path) -> None:
    calibration = Calibration(temperature=1.5, window_exponent=0.2, reviews=9, ece_after=0.01)
    control = RiskControl(
        method="by hand",
        confidence=0.95,
        reviews=9,
        default_risk=0.02,
        thresholds=(Threshold(0.01, None), Threshold(0.02, 0.9)),
    )
    bundle = tiny.bundle()
    manifest = replace(bundle.manifest, calibration=calibration, risk_control=control)
    write_bundle(tmp_path / "bundle", replace(bundle, manifest=manifest))
    read = read_bundle(tmp_path / "bundle").manifest
    assert (read.calibration, read.risk_control) == (calibration, control)


def test_title_unit_and_examples_do_not_change_the_version(written: Path, tmp_path: Path) -> None:
    bundle = tiny.bundle(network=bytes(range(256)))
    fields: dict[str, Any] = {"title": "Which team?", "unit": "story", "examples": {"a": "b\nc"}}
    manifest = replace(bundle.manifest, **fields)
    described = write_bundle(tmp_path / "described", replace(bundle, manifest=manifest))
    plain = read_bundle(written).manifest
    assert described.version == plain.version
    assert (format_of(tmp_path / "described"), format_of(written)) == (PRESENTATION_FORMAT, 2)
    assert read_bundle(tmp_path / "described").manifest == described
    assert (described.heading, described.noun, described.nouns) == (
        "Which team?",
        "story",
        "stories",
    )
    assert (plain.title, plain.unit, plain.examples) == ("", "", {})
    assert plain.heading == "Is this text negative or positive?"
    assert (plain.noun, plain.nouns) == ("text", "texts")


@pytest.mark.parametrize(
    ("noun", "nouns"),
    [("review", "reviews"), ("story", "stories"), ("essay", "essays"), ("box", "boxes")],
)
def test_plural(noun: str, nouns: str) -> None:
    assert plural(noun) == nouns


@pytest.mark.parametrize(
    ("count", "heading"),
    [
        (2, "Is this text 0 or 1?"),
        (4, "Is this text 0, 1, 2 or 3?"),
        (5, "Which label fits this text?"),
    ],
)
def test_heading_lists_few_labels(count: int, heading: str) -> None:
    labels = tuple(map(str, range(count)))
    assert Manifest(name="tiny", labels=labels, window=16).heading == heading


def test_bundle_of_format_1_is_read(written: Path, tmp_path: Path) -> None:
    folder = copy(written, tmp_path / "bundle")
    content = json.loads((folder / "manifest.json").read_text())
    for key in ("calibration", "risk_control", "sha256"):
        del content[key]
    (folder / "manifest.json").write_bytes(serialize(content | {"format": 1}))
    assert read_bundle(folder).manifest.calibration is None


def test_newer_format_is_an_error(written: Path, tmp_path: Path) -> None:
    folder = copy(written, tmp_path / "bundle")
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": FORMAT + 1}))
    with pytest.raises(BundleError) as raised:
        read_bundle(folder)
    assert raised.value.code == "bundle-too-new"


def test_read_bundle_rejects_missing_folder(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(BundleError) as raised:
            read_bundle(folder)
        assert raised.value.code == "no-bundle"


@pytest.mark.parametrize("name", ["holiday.jpg", "model.onnx.data-x"])
def test_write_bundle_keeps_other_files(written: Path, tmp_path: Path, name: str) -> None:
    folder = copy(written, tmp_path / "extension")
    (folder / name).touch()
    for target in (folder, folder / name):
        with pytest.raises(BundleError) as raised:
            write_bundle(target, tiny.bundle())
        assert raised.value.code == "not-a-bundle-folder"
    assert (folder / name).exists()


def test_manifest_without_a_key_is_an_error(written: Path, tmp_path: Path) -> None:
    folder = copy(written, tmp_path / "bundle")
    content = json.loads((folder / "manifest.json").read_text())
    del content["labels"], content["sha256"]
    (folder / "manifest.json").write_bytes(serialize(content))
    with pytest.raises(BundleError, match=r"manifest\.json: .*labels"):
        read_bundle(folder)


@pytest.mark.parametrize("at_once", [True, False])
def test_write_bundle_replaces_earlier_bundle(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    if not at_once:
        monkeypatch.setattr("reelsense.bundle.writing.exchange", lambda *_: False)
    folder = copy(written, tmp_path / "bundle")
    write_bundle(folder, tiny.bundle(network=b"new"))
    assert (folder / "model.onnx").read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [folder]


def test_write_bundle_replaces_the_target_of_a_link(written: Path, tmp_path: Path) -> None:
    folder, link = copy(written, tmp_path / "bundle"), tmp_path / "link"
    link.symlink_to(folder)
    write_bundle(link, tiny.bundle(network=b"new"))
    assert link.is_symlink()
    assert (folder / "model.onnx").read_bytes() == b"new"


@pytest.mark.skipif(sys.platform != "linux", reason="the swap of two folders is a call of Linux")
def test_readers_see_one_whole_bundle_while_it_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    versions = [
        replace(tiny.bundle(network=bytes([n]) * 50_000), card=f"# {n}\n") for n in range(2)
    ]
    write_bundle(folder, versions[0])
    stop, missing = threading.Event(), 0

    def look() -> None:
        nonlocal missing
        while not stop.is_set():
            missing += not folder.is_dir()

    def load() -> tuple[str, bytes]:
        bundle = read_bundle(folder)
        return bundle.card, bundle.network_content(NETWORK)

    def replace_often() -> None:
        for n in range(150):
            write_bundle(folder, versions[n % 2])
        stop.set()

    threads = [threading.Thread(target=target) for target in (look, replace_often)]
    for thread in threads:
        thread.start()
    seen = set()
    while not stop.is_set():
        card, network = retry_if_replaced(folder, load)
        assert network == bytes([int(card[2])]) * 50_000
        seen.add(card)
    for thread in threads:
        thread.join()
    assert (missing, seen) == (0, {"# 0\n", "# 1\n"})


def test_read_bundle_reads_again_if_the_folder_was_replaced(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copy(written, tmp_path / "bundle")

    def replaced_after_the_manifest(path: Path, raw: bytes) -> Manifest:
        monkeypatch.undo()
        write_bundle(folder, tiny.bundle(network=b"new"))
        return parse(path, raw)

    monkeypatch.setattr("reelsense.bundle.reading.parse", replaced_after_the_manifest)
    assert read_bundle(folder).network_content(NETWORK) == b"new"


def test_check_target_rejects_a_bundle_unless_it_may_be_replaced(
    written: Path, tmp_path: Path
) -> None:
    with pytest.raises(BundleError) as raised:
        check_target(written, overwrite=False)
    assert raised.value.code == "bundle-exists"
    check_target(written, overwrite=True)
    for folder in (tmp_path, tmp_path / "new"):
        check_target(folder, overwrite=False)


def test_evaluation_does_not_change_the_version(written: Path, tmp_path: Path) -> None:
    folder = tmp_path / "evaluated"
    bundle = replace(tiny.bundle(network=bytes(range(256))), evaluation='{"a": "\u2713"}')
    manifest = write_bundle(folder, bundle)
    plain = read_bundle(written)
    assert read_bundle(folder).evaluation == bundle.evaluation
    assert plain.evaluation is None
    assert manifest.version == plain.manifest.version
    assert set(manifest.files) - set(plain.manifest.files) == {EVALUATION}
    assert read_bundle(folder).size == bundle.size == 256
    write_bundle(folder, plain)
    assert not (folder / EVALUATION).exists()


def test_changed_or_missing_evaluation_is_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    write_bundle(folder, replace(tiny.bundle(), evaluation="{}"))
    (folder / EVALUATION).write_text("[]")
    with pytest.raises(BundleError, match=r"evaluation\.json") as changed:
        read_bundle(folder)
    assert changed.value.code == "bundle-changed"
    (folder / EVALUATION).unlink()
    with pytest.raises(BundleError, match=r"evaluation\.json") as missing:
        read_bundle(folder)
    assert missing.value.code == "bundle-incomplete"


def test_training_texts_are_verified_and_do_not_change_the_version(
    written: Path, tmp_path: Path
) -> None:
    bundle = replace(tiny.bundle(network=bytes(range(256))), training_texts=b"\x00\xff\r\n")
    manifest = write_bundle(tmp_path / "tiny", bundle)
    assert manifest.version == read_bundle(written).manifest.version
    assert read_bundle(tmp_path / "tiny").training_texts == b"\x00\xff\r\n"
    assert read_bundle(written).training_texts is None
    (tmp_path / "tiny" / TRAINING_TEXTS).write_bytes(b"\x00\xff\r\r")
    with pytest.raises(BundleError) as error:
        read_bundle(tmp_path / "tiny")
    assert error.value.code == "bundle-changed"


def test_reference_profile_is_verified_and_does_not_change_the_version(
    written: Path, tmp_path: Path
) -> None:
    bundle = replace(tiny.bundle(network=bytes(range(256))), profile='{"a": 1}')
    manifest = write_bundle(tmp_path / "tiny", bundle)
    assert manifest.version == read_bundle(written).manifest.version
    assert read_bundle(tmp_path / "tiny").profile == '{"a": 1}'
    assert read_bundle(written).profile is None
    check_target(tmp_path / "tiny")
    (tmp_path / "tiny" / REFERENCE_PROFILE).write_text("{}")
    with pytest.raises(BundleError) as error:
        read_bundle(tmp_path / "tiny")
    assert error.value.code == "bundle-changed"


def test_unlisted_evaluation_is_not_read(written: Path, tmp_path: Path) -> None:
    folder = copy(written, tmp_path / "bundle")
    (folder / EVALUATION).write_text("{}")
    assert read_bundle(folder).evaluation is None


def test_bundle_with_old_report_and_metrics_is_read(written: Path, tmp_path: Path) -> None:
    folder = copy(written, tmp_path / "bundle")
    content = json.loads((folder / "manifest.json").read_text())
    del content["sha256"]
    report = b"<!doctype html>"
    content["files"]["report.html"] = hashlib.sha256(report).hexdigest()
    content["metrics"] = {"held_out": {"accuracy_fp32": 0.9}}
    (folder / "manifest.json").write_bytes(serialize(content))
    with pytest.raises(BundleError, match=r"report\.html"):
        read_bundle(folder)
    (folder / "report.html").write_bytes(report)
    bundle = read_bundle(folder)
    assert bundle.evaluation is None
    assert dict(bundle.manifest.metrics) == content["metrics"]
    write_bundle(folder, bundle)
    assert not (folder / "report.html").exists()
    assert dict(read_bundle(folder).manifest.metrics) == content["metrics"]


SPLIT = ["model.onnx", "model.onnx.data-1", "model.onnx.data-2"]


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a bundle whose network is in three files: the graph and two tables."""
    folder = tmp_path_factory.mktemp("bundles") / "split"
    bundle = tiny.bundle(network=tiny_network.large_network())
    write_bundle(folder, bundle, max_file_size=tiny_network.TABLE_SIZE)
    return folder


def test_large_network_is_written_in_several_files(split: Path) -> None:
    bundle = read_bundle(split)
    assert sorted(path.name for path in split.iterdir()) == sorted([*PARTS, *SPLIT[1:]])
    assert set(bundle.weights) == set(SPLIT[1:])
    assert {(split / name).stat().st_size for name in SPLIT[1:]} == {tiny_network.TABLE_SIZE}
    assert bundle.size == sum((split / name).stat().st_size for name in SPLIT)
    assert set(SPLIT) < set(bundle.manifest.files)


def test_network_in_one_file_is_readable_by_older_versions(written: Path, split: Path) -> None:
    """Older versions would load a split network without verifying all files."""
    formats = [
        json.loads((folder / "manifest.json").read_text())["format"] for folder in (written, split)
    ]
    assert formats == [2, 3]


def test_network_of_maximum_size_is_written_in_one_file(tmp_path: Path) -> None:
    network = tiny_network.large_network()
    write_bundle(tmp_path / "one", tiny.bundle(network=network), max_file_size=len(network))
    assert (tmp_path / "one" / "model.onnx").read_bytes() == network
    assert not read_bundle(tmp_path / "one").weights


@given(
    st.sampled_from([*PARTS, *SPLIT[1:]]),
    st.integers(0, 10_000),
    st.integers(1, 255),
    st.booleans(),
)
def test_any_changed_or_missing_file_is_named(
    tmp_path_factory: pytest.TempPathFactory,
    split: Path,
    name: str,
    position: int,
    change: int,
    missing: bool,
) -> None:
    folder = copy(split, tmp_path_factory.mktemp("changed") / "bundle")
    content = bytearray((folder / name).read_bytes())
    content[position % len(content)] ^= change
    (folder / name).write_bytes(content)
    if missing:
        (folder / name).unlink()
    with pytest.raises(BundleError, match=re.escape(name)):
        read_bundle(folder)


@pytest.mark.parametrize("in_memory", [False, True])
def test_split_bundle_is_written_again_unchanged(
    split: Path, tmp_path: Path, in_memory: bool
) -> None:
    bundle = read_bundle(split)
    if in_memory:
        bundle = pickle.loads(pickle.dumps(bundle.in_memory()))  # noqa: S301  # as Ray sends it
    write_bundle(tmp_path / "again", bundle)
    again = {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()}
    assert again == {path.name: path.read_bytes() for path in split.iterdir()}


def test_too_large_network_is_split_when_written_again(split: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    write_bundle(whole, tiny.bundle(network=tiny_network.large_network()))
    write_bundle(whole, read_bundle(whole), max_file_size=tiny_network.TABLE_SIZE)
    assert read_bundle(whole).manifest == read_bundle(split).manifest


def test_split_bundle_replaces_other_bundle_and_is_replaced(split: Path, tmp_path: Path) -> None:
    folder = copy(split, tmp_path / "bundle")
    write_bundle(folder, tiny.bundle(network=b"new"))
    assert sorted(path.name for path in folder.iterdir()) == sorted(PARTS)
    write_bundle(folder, read_bundle(split))
    assert read_bundle(folder).manifest == read_bundle(split).manifest


def test_unlisted_weights_are_not_read(written: Path, tmp_path: Path) -> None:
    folder = copy(written, tmp_path / "bundle")
    (folder / "model.onnx.data-1").write_bytes(b"more")
    assert not read_bundle(folder).weights


def test_failed_write_keeps_earlier_bundle(written: Path, tmp_path: Path) -> None:
    folder = copy(written, tmp_path / "bundle")
    gone = replace(tiny.bundle(), network=tmp_path / "gone")
    with pytest.raises((BundleError, OSError)):
        write_bundle(folder, gone)
    assert list(tmp_path.iterdir()) == [folder]
    assert read_bundle(folder).manifest == read_bundle(written).manifest


def test_loadable_network_in_one_file_is_in_memory(written: Path) -> None:
    with read_bundle(written).loadable() as network:
        assert network == (written / "model.onnx").read_bytes()


@pytest.mark.parametrize("in_memory", [False, True])
def test_split_network_is_loadable_from_temporary_files(split: Path, in_memory: bool) -> None:
    bundle = read_bundle(split)
    with (bundle.in_memory() if in_memory else bundle).loadable() as network:
        assert isinstance(network, Path)
        assert network.parent != split
        for name in SPLIT:
            assert (network.parent / name).read_bytes() == (split / name).read_bytes()
    assert not network.parent.exists()


def copy(folder: Path, to: Path) -> Path:
    to.mkdir(parents=True)
    for path in folder.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    return to


def test_star_ratings_are_read_as_written_and_affect_the_version(
    written: Path, tmp_path: Path
) -> None:
    bundle = tiny.bundle(network=bytes(range(256)))
    starred = replace(bundle, manifest=replace(bundle.manifest, ratings=(1, 5, 10)))
    write_bundle(tmp_path / "starred", starred)
    read = read_bundle(tmp_path / "starred").manifest
    assert read.ratings == (1, 5, 10)
    assert read.version != read_bundle(written).manifest.version


def test_bundle_without_star_ratings_is_read(written: Path, tmp_path: Path) -> None:
    folder = copy(written, tmp_path / "bundle")
    content = json.loads((folder / "manifest.json").read_text())
    del content["sha256"]
    assert "ratings" not in content
    (folder / "manifest.json").write_bytes(serialize(content))
    assert read_bundle(folder).manifest.ratings == ()


GROUPS = (
    LengthGroup(
        name="sentence",
        max_tokens=64,
        calibration=Calibration(temperature=2.0, data="sentences", reviews=900),
        thresholds=(Threshold(0.01, None), Threshold(0.02, 0.98)),
    ),
    LengthGroup(name="short", max_tokens=128),
)


def format_of(folder: Path) -> int:
    return int(json.loads((folder / "manifest.json").read_text())["format"])


def test_length_groups_are_read_as_written(tmp_path: Path) -> None:
    bundle = tiny.bundle()
    manifest = replace(bundle.manifest, risk_control=tiny.RISKS, length_groups=GROUPS)
    written = write_bundle(tmp_path / "bundle", replace(bundle, manifest=manifest))
    read = read_bundle(tmp_path / "bundle").manifest
    assert read == written
    assert read.length_groups == GROUPS
    assert read.groups[:2] == GROUPS
    assert (read.groups[2].name, read.groups[2].max_tokens) == ("long", None)
    assert read.groups[2].thresholds == tiny.RISKS.thresholds
    assert format_of(tmp_path / "bundle") == 3


def test_bundle_with_one_length_group_has_format_2(written: Path) -> None:
    manifest = read_bundle(written).manifest
    assert format_of(written) == 2
    assert "length_groups" not in json.loads((written / "manifest.json").read_text())
    assert [(group.name, group.max_tokens) for group in manifest.groups] == [("all", None)]
    assert manifest.groups[0].thresholds == ()


def test_one_group_has_the_calibration_and_thresholds_of_the_manifest() -> None:
    calibration = Calibration(temperature=1.5)
    manifest = Manifest(
        name="old", labels=("a", "b"), window=16, calibration=calibration, risk_control=tiny.RISKS
    )
    [group] = manifest.groups
    assert (group.calibration, group.thresholds) == (calibration, tiny.RISKS.thresholds)


def test_version_depends_on_length_groups(tmp_path: Path) -> None:
    sentence, short = GROUPS
    variants = [
        (),
        GROUPS,
        GROUPS[:1],
        (replace(sentence, max_tokens=48), short),
        (replace(sentence, calibration=None), short),
        (replace(sentence, thresholds=sentence.thresholds[:1]), short),
    ]
    bundle = tiny.bundle()
    versions = {
        write_bundle(
            tmp_path / str(n),
            replace(bundle, manifest=replace(bundle.manifest, length_groups=groups)),
        ).version
        for n, groups in enumerate(variants)
    }
    assert len(versions) == len(variants)


@pytest.mark.parametrize(
    ("risk", "threshold"), [(0.005, None), (0.01, None), (0.02, 0.98), (0.5, 0.98)]
)
def test_length_group_threshold_is_that_of_the_next_lower_risk(
    risk: float, threshold: float | None
) -> None:
    assert GROUPS[0].threshold(risk) == threshold
    assert GROUPS[1].threshold(risk) is None


def test_cascade_is_read_as_written_with_its_models(tmp_path: Path) -> None:
    written = cascades.write(tmp_path)
    bundle = read_bundle(tmp_path / "cascade")
    assert bundle.manifest == written.manifest
    assert [model.manifest.name for model in bundle.models] == ["first", "second"]
    assert sorted(path.name for path in (tmp_path / "cascade").iterdir()) == [CARD, MANIFEST]
    content = json.loads((tmp_path / "cascade" / MANIFEST).read_text())
    assert content["format"] == FORMAT
    assert content["cascade"]["models"][0]["version"] == bundle.models[0].manifest.version


def test_version_of_a_cascade_depends_on_its_threshold(tmp_path: Path) -> None:
    low, high = (cascades.write(tmp_path / str(n), n / 10).manifest.version for n in (6, 7))
    assert low != high


def test_cascade_without_its_model_names_it(tmp_path: Path) -> None:
    bundle = cascades.write(tmp_path)
    version = bundle.models[1].manifest.version
    (tmp_path / version).rename(tmp_path / "elsewhere")
    with pytest.raises(BundleError) as raised:
        read_bundle(tmp_path / "cascade")
    assert raised.value.code == "no-cascade-model"
    assert version in str(raised.value)


def test_cascade_rejects_another_model_of_the_same_version(tmp_path: Path) -> None:
    bundle = cascades.write(tmp_path)
    assert bundle.manifest.cascade is not None
    first, second = bundle.manifest.cascade.models
    forged = replace(second, files=second.files | {NETWORK: "0" * 64})
    cascade = replace(bundle.manifest.cascade, models=(first, forged))
    manifest = replace(bundle.manifest, cascade=cascade)
    write_bundle(tmp_path / "cascade", replace(bundle, manifest=manifest))
    with pytest.raises(BundleError) as raised:
        read_bundle(tmp_path / "cascade")
    assert raised.value.code == "cascade-model-changed"


def test_cascade_has_no_network_to_load(tmp_path: Path) -> None:
    with pytest.raises(BundleError) as raised, cascades.write(tmp_path).loadable():
        pass
    assert raised.value.code == "cascade"
