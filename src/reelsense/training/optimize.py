"""What every training loop here does alike: the learning rate's course, and one step along it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from reelsense.errors import TrainingError
from reelsense.training.processes import Processes


def rate_at(done: int, total: int, peak: float, warmup: float) -> float:
    """Return the learning rate after `done` of `total` steps: a linear rise, then a linear fall.

    It rises to `peak` over the share `warmup` of the steps and falls to zero over the rest.
    """
    warm = max(1, round(total * warmup))
    up = (done + 1) / warm
    down = (total - done) / max(1, total - warm)
    return peak * max(0.0, min(up, down, 1.0))


def take_step(
    processes: Processes,
    forward: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Sequence[int],
    loss_of: Callable[[list[int]], Tensor],
    *,
    rate: float,
    rate_setting: str,
    max_gradient_norm: float,
) -> float:
    """Go one step down the gradient of the mean loss of `batch` and return that loss.

    `loss_of` is what a part of the batch adds to that mean, by one pass through `forward`. Raises
    TrainingError if the loss is not a number, naming the recipe's `rate_setting`.
    """
    for group in optimizer.param_groups:
        group["lr"] = rate
    accelerator = processes.accelerator
    loss = torch.zeros((), device=accelerator.device)
    for part in processes.parts(forward, batch):
        added = loss_of(part)
        accelerator.backward(added * processes.count)  # DDP takes the mean over processes
        loss += added.detach()
    accelerator.clip_grad_norm_(forward.parameters(), max_gradient_norm)
    optimizer.step()
    optimizer.zero_grad()
    (value,) = processes.sum([loss.item()])
    if value != value:
        raise TrainingError(f"the loss is not a number any more: lower {rate_setting}")
    return value
