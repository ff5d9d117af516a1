"""Attacks with bundles: values that make no sense, and files that change or are not listed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reelsense import Classifier
from reelsense.bundle import read_bundle, write_bundle
from reelsense.bundle.serialization import serialize
from reelsense.errors import BundleError
from tests import tiny, tiny_network

pytestmark = pytest.mark.security

THRESHOLD = {"risk": 0.05, "score": 0.7}
VALID: dict[str, Any] = {
    "calibration": {"temperature": 1.5, "window_exponent": 0.5, "data": "reviews", "reviews": 100},
    "risk_control": {
        "method": "ltt",
        "confidence": 0.95,
        "reviews": 100,
        "default_risk": None,
        "thresholds": [THRESHOLD],
    },
    "length_groups": [
        {"name": "short", "max_tokens": 10, "calibration": None, "thresholds": [THRESHOLD]}
    ],
    "ratings": [1, 5, 10],
}
NAN, INFINITY = float("nan"), float("inf")
INVALID = [
    ("name", ""),
    ("name", "a\x1b[2Jb"),
    ("name", "a\nb"),
    ("name", 5),
    ("labels", ["positive"]),
    ("labels", []),
    ("labels", ["positive", "positive"]),
    ("labels", ["positive", "\x1b]0;x\x07"]),
    ("labels", ["positive", " "]),
    ("labels", ["positive", None]),
    ("labels", "positive"),
    ("labels", "pn"),
    ("format", "x"),
    ("format", -1),
    ("format", True),
    ("calibration", []),
    ("risk_control", 0),
    ("length_groups", {}),
    ("labels", 5),
    ("window", 2),
    ("window", -16),
    ("window", 16.5),
    ("window", True),
    ("window", "16"),
    ("window", 10**9),
    ("ratings", [5, 1]),
    ("ratings", ["1"]),
    ("ratings", {"1": 2}),
    ("calibration.temperature", 0),
    ("calibration.temperature", -1),
    ("calibration.temperature", NAN),
    ("calibration.temperature", INFINITY),
    ("calibration.temperature", "1"),
    ("calibration.temperature", None),
    ("calibration.window_exponent", NAN),
    ("calibration.window_exponent", 1e6),
    ("calibration.unknown", 1),
    ("calibration", [1]),
    ("calibration", 5),
    ("risk_control.confidence", 2),
    ("risk_control.default_risk", -0.1),
    ("risk_control.reviews", -1),
    ("risk_control.thresholds", [{"risk": 2, "score": 0.5}]),
    ("risk_control.thresholds", [{"risk": 0.1, "score": NAN}]),
    ("risk_control.thresholds", [{"risk": 0.1, "score": 1.5}]),
    ("risk_control.thresholds", [THRESHOLD, THRESHOLD]),
    ("risk_control.thresholds", [5]),
    ("risk_control.thresholds", None),
    ("length_groups", [{"name": "a"}]),
    ("length_groups", 5),
    ("length_groups", [VALID["length_groups"][0], VALID["length_groups"][0]]),
    ("title", 5),
    ("title", "two\nlines"),
    ("title", "x" * 201),
    ("unit", ["review"]),
    ("unit", " "),
    ("examples", ["text"]),
    ("examples", {"name": 5}),
    ("examples", {"name": " "}),
    ("examples", {"": "text"}),
    ("examples", {"name": "x" * 2001}),
    ("examples", {str(n): "text" for n in range(21)}),
    ("int8_activations", "no"),
    ("metrics", [1]),
    ("provenance", None),
    ("version", "../../x"),
    ("files", ["model.onnx"]),
    ("files", {"model.onnx": "0"}),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    write_bundle(folder, tiny.bundle(network=tiny_network.network()))
    change(folder, VALID)
    return folder


def change(folder: Path, values: dict[str, Any]) -> None:
    """Change the manifest, and its hash accordingly."""
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    del content["sha256"]
    for name, value in values.items():
        *parents, key = name.split(".")
        parent = content
        for other in parents:
            parent = parent[other]
        parent[key] = value
    path.write_bytes(serialize(content))


def test_valid_manifest_is_read(folder: Path) -> None:
    manifest = read_bundle(folder).manifest
    assert manifest.calibration
    assert manifest.calibration.temperature == 1.5
    assert manifest.length_groups[0].max_tokens == 10


@pytest.mark.parametrize(("name", "value"), INVALID)
def test_invalid_manifest_is_rejected(folder: Path, name: str, value: object) -> None:
    change(folder, {name: value})
    with pytest.raises(BundleError) as error:
        read_bundle(folder)
    assert error.value.code in ("invalid-manifest", "invalid-bundle")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
KEYS = st.sampled_from(
    ["name", "labels", "window", "ratings", "calibration", "risk_control", "length_groups", "files"]
)


@given(key=KEYS, value=VALUES)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_manifest_is_read_or_rejected(folder: Path, key: str, value: object) -> None:
    before = (folder / "manifest.json").read_bytes()
    try:
        change(folder, {key: value})
        read_bundle(folder)
    except BundleError:
        pass
    finally:
        (folder / "manifest.json").write_bytes(before)


def swap_network(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(tiny_network.network(rows=100))


def remove_network(folder: Path) -> None:
    (folder / "model.onnx").unlink()


@pytest.mark.parametrize("attack", [swap_network, remove_network])
def test_network_that_changes_after_verification_is_not_loaded(
    folder: Path, attack: Callable[[Path], None]
) -> None:
    bundle = read_bundle(folder)
    attack(folder)
    with pytest.raises(BundleError) as error:
        Classifier(bundle)
    assert error.value.code in ("bundle-changed", "bundle-incomplete")
    with pytest.raises(BundleError):
        bundle.in_memory()


def test_weights_that_are_not_listed_are_not_loaded(tmp_path: Path) -> None:
    split, folder = tmp_path / "split", tmp_path / "bundle"
    network = tiny_network.large_network()
    write_bundle(split, tiny.bundle(network=network), max_file_size=tiny_network.TABLE_SIZE)
    graph = (split / "model.onnx").read_bytes()  # refers to two files of weights
    write_bundle(folder, tiny.bundle(network=graph))
    for path in split.glob("model.onnx.data-*"):
        shutil.copy(path, folder)
    Classifier(read_bundle(split))
    with pytest.raises(BundleError) as error:
        Classifier(read_bundle(folder))
    assert error.value.code == "invalid-network"
