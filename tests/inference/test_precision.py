import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from reelsense.inference import precision
from reelsense.inference.precision import faster_precision

LARGE = b"x" * 2_000_000


class Core:
    """A core whose requests take no time, and that counts what it compiles."""

    def __init__(self, capabilities: tuple[str, ...] = ("BF16", "FP32")) -> None:
        self._properties = {
            "OPTIMIZATION_CAPABILITIES": capabilities,
            "FULL_DEVICE_NAME": "A processor",
        }
        self.compiled: list[str] = []

    def get_property(self, _device: str, name: str) -> Any:
        return self._properties[name]

    def compile_model(self, _model: object, _device: str, settings: dict[str, Any]) -> Any:
        self.compiled.append(settings["INFERENCE_PRECISION_HINT"])
        request = SimpleNamespace(infer=lambda _inputs: None)
        return SimpleNamespace(create_infer_request=lambda: request)


MODEL = SimpleNamespace(inputs=["input_ids", "attention_mask"])


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "reelsense" / "precision.json"


@pytest.mark.parametrize("fast", ["bf16", "f32"])
def test_measured_precision_is_the_faster_one(monkeypatch: pytest.MonkeyPatch, fast: str) -> None:
    times = iter(range(1_000))
    core, clock = Core(), [0.0]

    def compile_model(_model: object, _device: str, settings: dict[str, Any]) -> Any:
        seconds = 1 if settings["INFERENCE_PRECISION_HINT"] == fast else 2

        def infer(_inputs: object) -> None:
            clock[0] += seconds

        request = SimpleNamespace(infer=infer)
        return SimpleNamespace(create_infer_request=lambda: request)

    monkeypatch.setattr(core, "compile_model", compile_model)
    monkeypatch.setattr("time.perf_counter", lambda: clock[0] + next(times) * 1e-9)
    assert faster_precision(core, MODEL, LARGE, {}) == fast


def test_precision_is_measured_once_for_each_network(cache: Path) -> None:
    core = Core()
    first = faster_precision(core, MODEL, LARGE, {})
    assert sorted(core.compiled) == ["bf16", "f32"]
    assert faster_precision(core, MODEL, LARGE, {}) == first
    assert len(core.compiled) == 2
    faster_precision(core, MODEL, LARGE + b"y", {})
    assert len(core.compiled) == 4
    assert next(iter(json.loads(cache.read_text()).values())) == first


@pytest.mark.parametrize("content", ["", "[]", "{", '{"A processor": 3}'])
def test_damaged_cache_is_replaced(cache: Path, content: str) -> None:
    cache.parent.mkdir()
    cache.write_text(content)
    core = Core()
    for _ in range(2):
        assert faster_precision(core, MODEL, LARGE, {}) in precision.PRECISIONS
    assert len(core.compiled) == 2


def test_cache_that_cannot_be_written_is_ignored(cache: Path) -> None:
    cache.parent.write_text("a file in place of the folder")
    core = Core()
    assert faster_precision(core, MODEL, LARGE, {}) in precision.PRECISIONS


def test_small_networks_and_processors_without_bf16_are_not_measured() -> None:
    small, old = Core(), Core(("FP32",))
    assert faster_precision(small, MODEL, b"x", {}) == "f32"
    assert faster_precision(old, MODEL, LARGE, {}) == "f32"
    assert small.compiled == old.compiled == []
