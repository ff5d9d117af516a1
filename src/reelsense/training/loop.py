"""The training loop of pre-training, fine-tuning and distillation.

A `TrainingTask` knows the model, the batches and the loss; `train` takes the steps: one AdamW step
per batch, under a learning rate that warms up and then falls linearly, with checkpoints every few
minutes, so that an interrupted run continues exactly where it was. Several processes take the same
steps as one (`processes`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers import PreTrainedModel, set_seed

from reelsense.errors import TrainingError
from reelsense.training import checkpoint
from reelsense.training.distributed import Processes
from reelsense.training.hardware import interruptible, keep_freed_memory
from reelsense.training.model import parameter_groups
from reelsense.training.recipe import Stage
from reelsense.training.throughput import Speed, told

CHECKPOINT_EVERY = 180.0
"""Seconds between two saved states."""


class TrainingTask(Protocol):
    """What is trained: a model, its batches and the loss over them."""

    model: PreTrainedModel
    plans: list[list[list[int]]]
    """The batches of every epoch, as numbers of examples."""
    fingerprint: str
    """A hash of everything that a resumed run must share with the first."""

    def logits(self, model: Any, *inputs: Tensor) -> Tensor:
        """Compute what the loss is taken over. The only pass through the model in a step."""
        ...

    def prepare(self, batch: list[int], progress: checkpoint.TrainingProgress) -> Batch:
        """Return the batch whose loss the next step reduces."""
        ...

    def evaluate(self, model: PreTrainedModel) -> dict[str, float]:
        """Return metrics on the validation set; "loss" decides which epoch is kept."""
        ...

    def save(self, model: PreTrainedModel, metrics: dict[str, float]) -> None:
        """Write the checkpoint of `model`."""
        ...


class Batch(Protocol):
    """The examples of one step."""

    @property
    def tokens(self) -> Sequence[int]:
        """Length of each example, without padding."""
        ...

    def loss(self, forward: Any, part: list[int]) -> Tensor:
        """Return what the examples `part`, numbered within the batch, add to its mean loss.

        An empty part passes through `forward` too, because processes wait for each other there.
        """
        ...


@dataclass
class Training:
    """Everything that changes in the course of a run."""

    model: PreTrainedModel
    forward: nn.Module
    optimizer: torch.optim.Optimizer
    average: AveragedModel | None
    begun: dict[str, Tensor]
    """The weights that the run began with, where the stage goes back to them."""
    progress: checkpoint.TrainingProgress

    def parts(self) -> dict[str, checkpoint.Stateful]:
        """Return what a saved state consists of."""
        parts: dict[str, checkpoint.Stateful] = {"model": self.model, "optimizer": self.optimizer}
        return parts if self.average is None else parts | {"average": self.average}


def start(stage: Stage, output: Path, processes: Processes | None, *, resume: bool) -> Processes:
    """Prepare this process for a run in `output`; return the processes that share the run.

    Raises:
        TrainingError: There is a run or a model in `output` already, which is not to be resumed.
    """
    processes = processes or Processes()
    if not resume:
        checkpoint.refuse_to_overwrite(output)
        processes.wait()  # the others may not have looked yet, and soon there is a run
    keep_freed_memory()
    set_seed(stage.seed)
    return processes


def train(
    task: TrainingTask,
    stage: Stage,
    output: Path,
    processes: Processes,
    *,
    resume: bool = False,
    checkpoint_every: float = CHECKPOINT_EVERY,
) -> list[dict[str, float]]:
    """Train as `stage` describes; return the metrics of every epoch.

    `output` always has the checkpoint of the best epoch so far, and the state to resume from.

    Raises:
        StoppedError: The user interrupted the run. Its state is saved.
        TrainingError: The run cannot continue.
    """
    processes.check_same(task.fingerprint)
    training = _begin(task, stage, processes)
    progress, total = training.progress, sum(map(len, task.plans))
    if resume:
        progress = training.progress = checkpoint.load_state(
            output, task.fingerprint, training.parts(), processes
        )
    else:
        _save_state(output, task, training, processes)  # there is always one to resume from
    speed, saved = Speed(task.model, processes.count), time.monotonic()
    with interruptible() as interrupt:
        while progress.epoch < len(task.plans):
            speed.start()
            task.model.train()
            for batch in _bar(task.plans[progress.epoch], progress, len(task.plans), processes):
                rate = learning_rate(progress.steps_done, total, stage.learning_rate, stage.warmup)
                prepared = task.prepare(batch, progress)
                loss = _step(prepared, len(batch), training, stage, processes, rate)
                speed.add(prepared.tokens)
                progress.step += 1
                progress.steps_done += 1
                entry = {"step": progress.steps_done, "loss": loss, "rate": rate}
                _log(output, entry, processes)
                late = time.monotonic() - saved > checkpoint_every
                stop, save = processes.any(interrupt.requested, late)
                if stop or save:
                    _save_state(output, task, training, processes)
                    saved = time.monotonic()
                if stop:
                    processes.stop(f"stopped; the state is saved in {output}: go on with --resume")
            _finish_epoch(task, stage, training, output, processes, speed.facts())
    return progress.history


def learning_rate(done: int, total: int, peak: float, warmup: float) -> float:
    """Return the learning rate after `done` of `total` steps: a linear rise, then a linear fall.

    It rises to `peak` over the share `warmup` of the steps and falls to zero over the rest.
    """
    warm = max(1, round(total * warmup))
    up = (done + 1) / warm
    down = (total - done) / max(1, total - warm)
    return peak * max(0.0, min(up, down, 1.0))


def limit_steps(plans: list[list[list[int]]], max_steps: int) -> list[list[list[int]]]:
    """Return `plans` cut after `max_steps` batches in all; 0 leaves them whole."""
    left = max_steps or sum(map(len, plans))
    limited = []
    for plan in plans:
        limited.append(plan[:left])
        left -= len(limited[-1])
    return [plan for plan in limited if plan]


def _begin(task: TrainingTask, stage: Stage, processes: Processes) -> Training:
    model = task.model
    optimizer: torch.optim.Optimizer = torch.optim.AdamW(
        parameter_groups(model, stage.weight_decay), lr=stage.learning_rate, fused=True
    )
    forward, optimizer = processes.prepare(model, task.logits, optimizer)
    average = None
    if stage.ema_decay:
        average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(stage.ema_decay))
    begun = {}
    if stage.base_share:
        begun = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    if processes.rank:  # from here on, each has its own dropout
        torch.manual_seed(stage.seed + processes.rank)
    return Training(model, forward, optimizer, average, begun, checkpoint.TrainingProgress())


def _bar(
    plan: list[list[int]], progress: checkpoint.TrainingProgress, epochs: int, processes: Processes
) -> Iterator[list[int]]:
    """Yield the batches of `plan` that are left, under a progress bar."""
    title = f"epoch {progress.epoch + 1}/{epochs}"
    with processes.bar(total=len(plan), initial=progress.step, desc=title, unit="step") as bar:
        for batch in plan[progress.step :]:
            yield batch
            bar.update()


def _step(
    batch: Batch,
    size: int,
    training: Training,
    stage: Stage,
    processes: Processes,
    rate: float,
) -> float:
    """Take one step down the gradient of the mean loss of `batch` and return that loss."""
    for group in training.optimizer.param_groups:
        group["lr"] = rate
    accelerator = processes.accelerator
    loss = torch.zeros((), device=accelerator.device)
    for part in processes.parts(training.forward, range(size)):
        added = batch.loss(training.forward, part)
        accelerator.backward(added * processes.count)  # DDP takes the mean over processes
        loss += added.detach()
    accelerator.clip_grad_norm_(training.forward.parameters(), stage.max_gradient_norm)
    training.optimizer.step()
    training.optimizer.zero_grad()
    if training.average is not None:
        training.average.update_parameters(training.model)
    (value,) = processes.sum([loss.item()])
    if value != value:
        raise TrainingError("the loss is not a number any more: lower learning_rate")
    return value


def _finish_epoch(
    task: TrainingTask,
    stage: Stage,
    training: Training,
    output: Path,
    processes: Processes,
    speed: dict[str, float],
) -> None:
    """Evaluate, keep the epoch if it is the best, save the state and log."""
    progress = training.progress
    model = _final_weights(training, stage)
    metrics = task.evaluate(model)
    best = min((past["loss"] for past in progress.history), default=float("inf"))
    progress.history.append(metrics)
    if metrics["loss"] < best and processes.main:
        task.save(model, metrics)
    progress.epoch += 1
    progress.step = 0
    _log(
        output,
        {"epoch": progress.epoch, **metrics, "step": progress.steps_done, **speed},
        processes,
    )
    figures = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
    kept = " (best so far)" if metrics["loss"] < best else ""
    processes.say(f"epoch {progress.epoch}: {figures}{kept}; {told(speed)}")
    _save_state(output, task, training, processes)


@torch.no_grad()
def _final_weights(training: Training, stage: Stage) -> PreTrainedModel:
    """Return the model to save: the last weights, or their average.

    With a `base_share`, it lies between those and the weights that the run began with, which keeps
    more of what was learned before (Wortsman et al. 2022, "Robust Fine-Tuning of Zero-Shot
    Models").
    """
    model: Any = training.model if training.average is None else training.average.module
    if training.begun:
        model = deepcopy(model)
        for name, tensor in model.state_dict().items():
            tensor.lerp_(training.begun[name].to(tensor.device), stage.base_share)
    kept: PreTrainedModel = model
    return kept


def _save_state(output: Path, task: TrainingTask, training: Training, processes: Processes) -> None:
    checkpoint.save_state(output, task.fingerprint, training.parts(), training.progress, processes)


def _log(output: Path, entry: dict[str, float], processes: Processes) -> None:
    if processes.main:
        with (output / checkpoint.METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
