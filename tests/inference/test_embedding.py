"""Sentence vectors of tiny networks; tests/training/test_family_bundles.py tests real ones."""

from pathlib import Path

import numpy as np
import pytest

from reelsense import Classifier
from reelsense.bundle import write_bundle
from reelsense.errors import BundleError, TextError
from reelsense.inference.embedding import Encoder
from reelsense.training.model import load_model, output_layer
from reelsense.training.onnx_network import to_onnx
from tests import tiny, tiny_network
from tests.training.families import write_family


def test_encoder_returns_means_of_the_windows() -> None:
    encoder = Encoder(tiny.bundle(network=tiny_network.layered_network()), threads=2)
    assert encoder.dimensions == 2
    long = "good " * 14 + "bad " * 14  # two windows
    vectors = encoder.vectors(["good", "a bad, awful film", long])
    assert vectors.tolist() == [[1, -1], [-2, 2], [0, 0]]


def test_encoder_returns_one_vector_for_each_of_many_texts() -> None:
    encoder = Encoder(tiny.bundle(network=tiny_network.layered_network()), threads=1, cache_size=0)
    texts = ["good " * (n % 9 + 1) for n in range(600)]
    assert encoder.vectors(texts)[:, 0].tolist() == [n % 9 + 1 for n in range(600)]


def test_encoder_reports_the_position_of_unreadable_texts() -> None:
    encoder = Encoder(tiny.bundle(network=tiny_network.layered_network()), threads=1)
    with pytest.raises(TextError) as caught:
        encoder.vectors(["good", "\u200b"])
    assert (caught.value.code, caught.value.position) == ("unreadable", 1)


def test_encoder_rejects_networks_without_an_output_layer(tmp_path: Path) -> None:
    write_bundle(tmp_path / "tiny", tiny.bundle(network=tiny_network.network()))
    with pytest.raises(BundleError) as caught:
        Encoder.load(tmp_path / "tiny")
    assert caught.value.code == "no-output-layer"


def test_encoder_reads_networks_that_pool_hidden_states(tmp_path: Path) -> None:
    base = write_family(tmp_path, "bert", num_hidden_layers=3)
    model = load_model(base, ["a", "b"], pool_after=1).train(False)
    _, layer = output_layer(model)
    bundle = tiny.bundle(network=to_onnx(model).SerializeToString())
    texts = ["good film", "a bad film"]
    vectors = Encoder(bundle, threads=1).vectors(texts)
    logits = Classifier(bundle, threads=1, gpu=False).score(texts).logits
    weights, bias = (part.detach().numpy() for part in (layer.weight, layer.bias))
    assert vectors @ weights.T + bias == pytest.approx(logits, rel=0.05, abs=0.05)
    assert not np.allclose(vectors[0], vectors[1], atol=0.1)
