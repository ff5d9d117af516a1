"""The GPU engine, run on the CPU provider of ONNX Runtime."""

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


def test_gpu_engine_agrees_with_cpu_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [*POSITIVE, *NEGATIVE, " ".join(POSITIVE * 40)]
    expected = Classifier.load().predict_proba(texts)

    def cpu_provider_engine(network: bytes | Path) -> GpuEngine:
        return GpuEngine(network, ["CPUExecutionProvider"])

    monkeypatch.setattr("reelsense.inference.pipeline.gpu_engine", cpu_provider_engine)
    probabilities = Classifier.load().predict_proba(texts)
    assert np.abs(probabilities - expected).max() < 0.05


def test_gpu_engine_is_none_without_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "_DRIVERS", (Path("/nowhere"),))
    monkeypatch.setattr(gpu, "GpuEngine", None)
    assert gpu_engine(NETWORK) is None


def test_gpu_engine_is_none_if_gpu_cannot_be_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(gpu, "_DRIVERS", (tmp_path,))
    assert gpu_engine(NETWORK) is None  # the library knows no GPU
    assert "cannot use the GPU" in caplog.text
    caplog.clear()
    providers = ["CPUExecutionProvider"]
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: [gpu._CUDA])
    monkeypatch.setattr(gpu, "GpuEngine", lambda network: GpuEngine(network, providers))
    assert gpu_engine(NETWORK) is None  # it knows one, and falls back
    assert "cannot use the GPU" in caplog.text
    monkeypatch.setattr(gpu, "_CUDA", providers[0])
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: providers)
    assert gpu_engine(NETWORK) is not None


def test_log_names_extra_if_onnxruntime_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(gpu, "_DRIVERS", (tmp_path,))
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with caplog.at_level("INFO"):
        assert gpu_engine(NETWORK) is None
    assert "extra gpu" in caplog.text


def test_gpu_engine_rejects_invalid_network() -> None:
    with pytest.raises(BundleError) as caught:
        GpuEngine(b"none", ["CPUExecutionProvider"])
    assert caught.value.code == "invalid-network"
