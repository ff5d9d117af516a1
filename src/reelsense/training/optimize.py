"""What every training loop here does alike: the learning rate's course, and one step along it."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from torch import Tensor

from reelsense.errors import TrainingError


def rate_at(done: int, total: int, peak: float, warmup: float) -> float:
    """Return the learning rate after `done` of `total` steps: a linear rise, then a linear fall.

    It rises to `peak` over the share `warmup` of the steps and falls to zero over the rest.
    """
    warm = max(1, round(total * warmup))
    up = (done + 1) / warm
    down = (total - done) / max(1, total - warm)
    return peak * max(0.0, min(up, down, 1.0))


def take_step(
    accelerator: Accelerator,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: Tensor,
    *,
    rate: float,
    rate_setting: str,
    max_gradient_norm: float,
) -> float:
    """Go one step down the gradient of `loss` and return its value.

    Raises TrainingError if that is not a number, naming the recipe's `rate_setting`.
    """
    for group in optimizer.param_groups:
        group["lr"] = rate
    accelerator.backward(loss)
    accelerator.clip_grad_norm_(model.parameters(), max_gradient_norm)
    optimizer.step()
    optimizer.zero_grad()
    value = loss.item()
    if value != value:
        raise TrainingError(f"the loss is not a number any more: lower {rate_setting}")
    return value
