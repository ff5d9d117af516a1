"""The network of a checkpoint for a Classifier: as an ONNX model, or in PyTorch for comparison."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedModel

from reelsense.errors import TrainingError
from reelsense.inference.batching import Network, padded
from reelsense.training.encoders import tabulate_positions
from reelsense.training.model import logits, max_length


class _OnnxInterface(nn.Module):
    """The inputs and outputs of a bundle's network: ids and mask in, logits out."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return logits(self.model, input_ids, attention_mask)


def to_onnx(model: PreTrainedModel) -> onnx.ModelProto:
    """Convert `model` to an fp32 network over token ids and mask, of any batch size and length.

    As a side effect, `model` no longer accepts inputs longer than `max_length` says.
    """
    tabulate_positions(model.base_model, padded(max_length(model)))
    ids = torch.zeros(2, 16, dtype=torch.int64)
    axes = {0: "batch", 1: "length"}
    with _without_exporter_warnings(), tempfile.TemporaryDirectory() as folder:
        program = torch.onnx.export(
            _OnnxInterface(model),
            (ids, torch.ones_like(ids)),
            input_names=["input_ids", "attention_mask"],
            output_names=["logits"],
            dynamic_shapes=(axes, axes),
            opset_version=18,
            dynamo=True,
            verbose=False,
        )
        if program is None:
            raise TrainingError("torch.onnx.export returned no network", code="onnx-export")
        path = Path(folder) / "model.onnx"
        program.save(path)
        return onnx.load(path)


@contextmanager
def _without_exporter_warnings() -> Iterator[None]:
    """Hide the warnings of torch.onnx about its own code and about packages it does not need."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def torch_network(model: PreTrainedModel) -> Network:
    """Return `model` in PyTorch, in fp32, as the network of a Classifier."""

    @torch.no_grad()
    def run(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        outputs = logits(model, torch.from_numpy(ids), torch.from_numpy(mask))
        return np.asarray(outputs.numpy())

    return run
