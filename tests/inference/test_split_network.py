"""Engines on a network in several files."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from reelsense import Classifier
from reelsense.bundle import read_bundle, write_bundle
from reelsense.inference.gpu import GpuEngine
from tests import tiny, tiny_network

TEXTS = ["a good film", "bad, awful", "the film was not great"]


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "split"
    bundle = tiny.bundle(network=tiny_network.large_network())
    write_bundle(folder, bundle, max_file_size=tiny_network.TABLE_SIZE)
    assert len(read_bundle(folder).weights) == 2
    return folder


@pytest.fixture(scope="module")
def expected() -> NDArray[np.float64]:
    return tiny.classifier().predict_proba(TEXTS)


def test_classifier_runs_a_split_network_from_files_and_memory(
    split: Path, expected: NDArray[np.float64]
) -> None:
    bundle = read_bundle(split)
    received = pickle.loads(pickle.dumps(bundle.in_memory()))  # noqa: S301  # as Ray does
    for loaded in (bundle, received):
        assert Classifier(loaded).predict_proba(TEXTS) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("in_memory", [False, True])
def test_gpu_engine_runs_a_split_network_from_files_and_memory(
    split: Path, expected: NDArray[np.float64], in_memory: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")

    def cpu_provider_engine(network: bytes | Path) -> GpuEngine:
        return GpuEngine(network, ["CPUExecutionProvider"])

    monkeypatch.setattr("reelsense.inference.pipeline.gpu_engine", cpu_provider_engine)
    bundle = read_bundle(split)
    classifier = Classifier(bundle.in_memory() if in_memory else bundle)
    assert classifier.predict_proba(TEXTS) == pytest.approx(expected, abs=1e-5)


def test_overwritten_weight_files_do_not_affect_a_loaded_model(tmp_path: Path) -> None:
    """In a separate process, because overwriting a memory-mapped file would end it."""
    network = tiny_network.network(rows=300_000)
    write_bundle(tmp_path / "model", tiny.bundle(network=network), max_file_size=1000)
    program = f"""if True:
        from pathlib import Path
        from reelsense import Classifier
        classifier = Classifier.load({str(tmp_path / "model")!r})
        for path in Path({str(tmp_path / "model")!r}).glob("*.data-*"):
            path.write_bytes(b"")
        print(classifier.predict(["a good film"])[0].label)
    """
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603
    assert (done.returncode, done.stdout) == (0, "positive\n")
