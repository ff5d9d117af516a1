"""The output layer at the start of fine-tuning: a logistic regression on the frozen encoder.

Random weights would first change the encoder at random, which a few texts cannot repair (Kumar et
al. 2022, "Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution").
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn


@contextmanager
def inputs_of(layer: nn.Linear) -> Iterator[list[Tensor]]:
    """Collect the inputs of `layer`, one tensor (batch, hidden) for each forward pass."""
    inputs: list[Tensor] = []

    def collect(_layer: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        inputs.append(arguments[0].detach().float().cpu())

    with layer.register_forward_pre_hook(collect):
        yield inputs


@torch.no_grad()
def fit_output_layer(
    layer: nn.Linear, vectors: NDArray[np.float32], labels: NDArray[np.int64]
) -> None:
    """Set the weights of `layer` to those of a logistic regression.

    Args:
        layer: With an output for each label. Outputs of labels without a text are set to 0.
        vectors: Its inputs, (texts, hidden).
        labels: Index of the label of each text; two or more are different.
    """
    scale = float(np.linalg.norm(vectors, axis=1).mean())  # the regularisation is for unit vectors
    regression = LogisticRegression(max_iter=1000).fit(vectors / scale, labels)
    weights, bias = regression.coef_ / scale, regression.intercept_
    if len(weights) == 1:  # two labels: the difference of their logits
        weights, bias = np.stack([-weights[0], weights[0]]) / 2, np.stack([-bias[0], bias[0]]) / 2
    present = torch.from_numpy(regression.classes_)
    layer.weight.zero_()
    layer.bias.zero_()
    layer.weight[present] = torch.from_numpy(weights).to(layer.weight)
    layer.bias[present] = torch.from_numpy(bias).to(layer.bias)
