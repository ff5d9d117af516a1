import numpy as np
import pytest
import torch
from torch import nn

from reelsense.training.output_layer import fit_output_layer, inputs_of


@pytest.mark.parametrize("labels", [2, 3])
def test_fit_output_layer_separates_the_labels(labels: int) -> None:
    random = np.random.default_rng(0)
    targets = np.arange(60) % labels
    vectors = (random.normal(size=(60, 8)) + 6 * np.eye(8)[targets]).astype(np.float32)
    layer = nn.Linear(8, labels)
    fit_output_layer(layer, vectors, targets)
    assert np.array_equal(layer(torch.from_numpy(vectors)).argmax(1).numpy(), targets)


def test_fit_output_layer_gives_the_probabilities_of_the_regression() -> None:
    vectors = np.array([[1, 0], [0.9, 0.1], [0, 1], [0.2, 0.8]], np.float32)
    layer = nn.Linear(2, 2)
    fit_output_layer(layer, vectors, np.array([0, 0, 1, 1]))
    probabilities = layer(torch.from_numpy(vectors)).softmax(1)
    assert probabilities.mean(0).tolist() == pytest.approx([0.5, 0.5], abs=1e-3)  # as the labels
    assert ((probabilities > 0.5) & (probabilities < 0.9)).any(1).all()  # regularised


def test_fit_output_layer_sets_missing_labels_to_zero() -> None:
    layer = nn.Linear(2, 4)
    fit_output_layer(layer, np.eye(2, dtype=np.float32).repeat(3, 0), np.array([1, 1, 1, 3, 3, 3]))
    assert not layer.weight[[0, 2]].any()
    assert layer.weight[[1, 3]].any()


def test_inputs_of_collects_until_its_end() -> None:
    layer, vectors = nn.Linear(2, 2), torch.rand(3, 2)
    with inputs_of(layer) as inputs:
        layer(vectors)
    layer(vectors)
    assert len(inputs) == 1
    assert torch.equal(inputs[0], vectors)
