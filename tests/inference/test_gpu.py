"""The way to a GPU, on the processor: what only a GPU can show is not tested here."""

from pathlib import Path

import numpy as np
import pytest

from reelsense import Classifier, bundle
from reelsense.errors import BundleError
from reelsense.inference import gpu
from reelsense.inference.gpu import GpuEngine, gpu_engine
from tests.inference.test_default_model import NEGATIVE, POSITIVE

pytest.importorskip("onnxruntime")
NETWORK = bundle.DEFAULT_BUNDLE / bundle.NETWORK


def test_it_answers_as_the_processor_does(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [*POSITIVE, *NEGATIVE, " ".join(POSITIVE * 40)]
    expected = Classifier.load().predict_proba(texts)

    def on_the_processor(network: bytes | Path) -> GpuEngine:
        return GpuEngine(network, ["CPUExecutionProvider"])

    monkeypatch.setattr("reelsense.inference.classifier.gpu_engine", on_the_processor)
    found = Classifier.load().predict_proba(texts)
    assert np.abs(found - expected).max() < 0.05


def test_without_a_gpu_there_is_no_engine_and_no_import(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "_DRIVERS", (Path("/nowhere"),))
    monkeypatch.setattr(gpu, "GpuEngine", None)
    assert gpu_engine(NETWORK) is None


def test_a_gpu_that_cannot_be_used_is_told_and_left(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(gpu, "_DRIVERS", (tmp_path,))
    assert gpu_engine(NETWORK) is None  # the library knows no GPU
    assert "cannot use it" in caplog.text
    caplog.clear()
    providers = ["CPUExecutionProvider"]
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: [gpu._CUDA])
    monkeypatch.setattr(gpu, "GpuEngine", lambda network: GpuEngine(network, providers))
    assert gpu_engine(NETWORK) is None  # it knows one, and falls back
    assert "cannot use it" in caplog.text
    monkeypatch.setattr(gpu, "_CUDA", providers[0])
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: providers)
    assert gpu_engine(NETWORK) is not None


def test_without_the_library_the_log_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(gpu, "_DRIVERS", (tmp_path,))
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with caplog.at_level("INFO"):
        assert gpu_engine(NETWORK) is None
    assert "reelsense[gpu]" in caplog.text


def test_what_is_no_network() -> None:
    with pytest.raises(BundleError, match="cannot be read"):
        GpuEngine(b"none", ["CPUExecutionProvider"])
