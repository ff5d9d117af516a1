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


def test_classifier_answers_from_files_and_from_memory(
    split: Path, expected: NDArray[np.float64]
) -> None:
    bundle = read_bundle(split)
    sent = pickle.loads(pickle.dumps(bundle.in_memory()))  # noqa: S301  # as Ray does
    for each in (bundle, sent):
        assert Classifier(each).predict_proba(TEXTS) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("in_memory", [False, True])
def test_gpu_engine_answers_from_files_and_from_memory(
    split: Path, expected: NDArray[np.float64], in_memory: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")

    def on_the_processor(network: bytes | Path) -> GpuEngine:
        return GpuEngine(network, ["CPUExecutionProvider"])

    monkeypatch.setattr("reelsense.inference.pipeline.gpu_engine", on_the_processor)
    bundle = read_bundle(split)
    classifier = Classifier(bundle.in_memory() if in_memory else bundle)
    assert classifier.predict_proba(TEXTS) == pytest.approx(expected, abs=1e-5)


def test_weights_that_are_overwritten_do_not_disturb_a_loaded_model(tmp_path: Path) -> None:
    """Were they mapped into memory, the process would end, which is why it is one of its own."""
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
    found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603
    assert (found.returncode, found.stdout) == (0, "positive\n")
