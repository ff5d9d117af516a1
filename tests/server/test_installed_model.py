"""A server of an installed model, selected by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from reelsense.bundle import write_bundle
from reelsense.errors import BundleError
from reelsense.server.app import create_app
from reelsense.server.settings import Settings
from tests import installed, tiny, tiny_network
from tests.processes import ask, server
from tests.server.process.test_faults import metrics
from tests.waiting import wait_until


@pytest.fixture
def accurate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install a small model in several files, also for server processes."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    folder = installed.install(tmp_path)
    write(folder, weight=1)
    return folder


def write(folder: Path, weight: float) -> str:
    """Write a bundle in several files; return its version."""
    network = tiny_network.large_network(weight)
    bundle = tiny.bundle(network=network)
    return write_bundle(folder, bundle, max_file_size=tiny_network.TABLE_SIZE).version


def loads(address: str, outcome: str) -> float:
    """Return how many model loads had this outcome."""
    series = f'reelsense_model_loads_total{{model="default",outcome="{outcome}"}}'
    return metrics(address).get(series, 0)


def test_server_loads_model_by_name_and_reloads_changes(
    accurate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REELSENSE_MODEL", "accurate")

    def label(address: str) -> object:
        return ask(f"{address}/v1/predict", {"text": "good"}).body["predictions"][0]["label"]

    with server("--cache-size", "0") as (address, _):
        assert label(address) == "positive"
        version = write(accurate, weight=-1)
        wait_until(lambda: ask(f"{address}/readyz").body["model"]["version"] == version, 20)
        assert label(address) == "negative"
        (accurate / "model.onnx.data-2").write_bytes(b"")  # in place, and damaged
        wait_until(lambda: loads(address, "rejected") == 1, 20)
        assert label(address) == "negative"


def test_app_loads_model_by_name(accurate: Path) -> None:
    client = create_app(Settings(model="accurate", max_jobs=0)).test_client()
    wait_until(lambda: client.get("/readyz").status_code == 200, 20)
    assert client.get("/v1/info").get_json()["model"]["name"] == "tiny"


def test_app_rejects_unknown_model_name() -> None:
    with pytest.raises(BundleError, match="nosuch"):
        create_app(Settings(model="nosuch", max_jobs=0))
