"""The training loop of pre-training, fine-tuning and distillation.

A `TrainingTask` provides the model, the batches, the loss and the evaluation. `train` runs the
loop: learning rate, step, log, save; after each epoch evaluate, save, log. States are saved every
few minutes, so that an interrupted run continues exactly where it stopped. Several processes
share the batches of one run (`distributed`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers import PreTrainedModel, set_seed

from reelsense.errors import TrainingError
from reelsense.training import checkpoint
from reelsense.training.checkpoint import Stateful, TrainingProgress
from reelsense.training.distributed import Processes
from reelsense.training.hardware import interruptible, keep_freed_memory
from reelsense.training.model import parameter_groups
from reelsense.training.recipe import Stage
from reelsense.training.throughput import Throughput, describe

CHECKPOINT_EVERY = 180.0
"""Seconds between two saved states."""


class Batch(Protocol):
    """The examples of one training step."""

    @property
    def lengths(self) -> Sequence[int]:
        """Tokens of each example, without padding."""
        ...

    def loss(self, forward: Any, indices: list[int]) -> Tensor:
        """Return what the examples at `indices` of the batch add to its mean loss.

        Without indices the result is 0, but `forward` is called all the same: processes wait for
        each other there.
        """
        ...


class TrainingTask(Protocol):
    """What is trained: a model, its batches and the loss."""

    model: PreTrainedModel
    epochs: list[list[list[int]]]
    """The batches of each epoch, as indices of examples."""
    fingerprint: str
    """A hash of everything that a resumed run must share with the first."""

    def forward(self, model: Any, *inputs: Tensor) -> Tensor:
        """Compute what the loss is taken over."""
        ...

    def batch(self, indices: list[int], progress: TrainingProgress) -> Batch:
        """Return the batch of the examples at `indices`."""
        ...

    def evaluate(self, model: PreTrainedModel) -> dict[str, float]:
        """Return metrics on the validation set; "loss" decides which epoch is kept."""
        ...

    def save(self, model: PreTrainedModel, metrics: dict[str, float]) -> None:
        """Write the checkpoint of `model`."""
        ...


def prepare_run(
    stage: Stage, output: Path, processes: Processes | None, *, resume: bool
) -> Processes:
    """Prepare this process for a run in `output`; return the processes that share the run.

    Raises:
        TrainingError: `output` contains a run or a model, and `resume` is false.
    """
    processes = processes or Processes()
    if not resume:
        checkpoint.create_output_folder(output)
        processes.wait()  # until all have checked the folder: the main process writes to it soon
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
    """Train as `stage` describes; return the validation metrics of every epoch.

    At any time `output` contains the checkpoint of the best epoch so far and a state to resume
    from.

    Raises:
        StoppedError: The user interrupted the run. Its state is saved.
        TrainingError: The run cannot continue.
    """
    processes.check_same(task.fingerprint)
    run = _Run(task, stage, output, processes)
    if resume:
        run.load_state()
    else:
        run.save_state()
    progress, total_steps = run.progress, sum(map(len, task.epochs))
    throughput, last_save = Throughput(task.model, processes.world_size), time.monotonic()
    with interruptible() as interrupt:
        while progress.epoch < len(task.epochs):
            throughput.start()
            task.model.train()
            for indices in run.remaining_batches():
                rate = learning_rate(
                    progress.steps_done, total_steps, stage.learning_rate, stage.warmup
                )
                batch = task.batch(indices, progress)
                loss = run.step(batch, rate)
                throughput.add(batch.lengths)
                progress.step += 1
                progress.steps_done += 1
                run.log({"step": progress.steps_done, "loss": loss, "rate": rate})

                save_is_due = time.monotonic() - last_save > checkpoint_every
                stop, save = processes.any(interrupt.requested, save_is_due)
                if stop or save:
                    run.save_state()
                    last_save = time.monotonic()
                if stop:
                    processes.stop(f"stopped; the state is saved in {output}: use --resume")

            model = run.weights_to_keep()
            metrics = task.evaluate(model)
            best_loss = min((past["loss"] for past in progress.history), default=float("inf"))
            is_best = metrics["loss"] < best_loss
            if is_best and processes.is_main:
                task.save(model, metrics)
            progress.history.append(metrics)
            progress.epoch += 1
            progress.step = 0
            speed = throughput.metrics()
            run.log({"epoch": progress.epoch, **metrics, "step": progress.steps_done, **speed})
            run.save_state()
            values = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
            best = " (best so far)" if is_best else ""
            processes.print(f"epoch {progress.epoch}: {values}{best}; {describe(speed)}")
    return progress.history


def learning_rate(step: int, total_steps: int, peak: float, warmup: float) -> float:
    """Return the learning rate of a step: linear warm-up, then linear decay to 0.

    Args:
        step: Number of steps done, from 0.
        total_steps: Steps of the whole run.
        peak: The highest learning rate.
        warmup: The share of all steps over which the rate rises to `peak`.
    """
    warmup_steps = max(1, round(total_steps * warmup))
    rise = (step + 1) / warmup_steps
    decay = (total_steps - step) / max(1, total_steps - warmup_steps)
    return peak * max(0.0, min(rise, decay, 1.0))


def limit_steps(epochs: list[list[list[int]]], max_steps: int) -> list[list[list[int]]]:
    """Return `epochs` cut after `max_steps` batches in total; 0 means no limit."""
    left = max_steps or sum(map(len, epochs))
    limited = []
    for batches in epochs:
        limited.append(batches[:left])
        left -= len(limited[-1])
    return [batches for batches in limited if batches]


class _Run:
    """A run in progress: the weights, the optimizer and how far the run is."""

    def __init__(
        self, task: TrainingTask, stage: Stage, output: Path, processes: Processes
    ) -> None:
        self.task, self.stage, self.output, self.processes = task, stage, output, processes
        optimizer: torch.optim.Optimizer = torch.optim.AdamW(
            parameter_groups(task.model, stage.weight_decay), lr=stage.learning_rate, fused=True
        )
        self.forward, self.optimizer = processes.prepare(task.model, task.forward, optimizer)
        self.ema: AveragedModel | None = None
        if stage.ema_decay:
            self.ema = AveragedModel(task.model, multi_avg_fn=get_ema_multi_avg_fn(stage.ema_decay))
        self.initial_weights: dict[str, Tensor] = {}
        if stage.base_share:
            weights = task.model.state_dict()
            self.initial_weights = {name: tensor.clone() for name, tensor in weights.items()}
        if processes.rank:  # from here on, each process has its own dropout
            torch.manual_seed(stage.seed + processes.rank)
        self.progress = TrainingProgress()

    def _parts(self) -> dict[str, Stateful]:
        parts: dict[str, Stateful] = {"model": self.task.model, "optimizer": self.optimizer}
        return parts if self.ema is None else parts | {"average": self.ema}

    def save_state(self) -> None:
        checkpoint.save_state(
            self.output, self.task.fingerprint, self._parts(), self.progress, self.processes
        )

    def load_state(self) -> None:
        self.progress = checkpoint.load_state(
            self.output, self.task.fingerprint, self._parts(), self.processes
        )

    def remaining_batches(self) -> Iterator[list[int]]:
        """Yield the batches of the current epoch that are left, under a progress bar."""
        epoch, first = self.progress.epoch, self.progress.step
        batches = self.task.epochs[epoch]
        title = f"epoch {epoch + 1}/{len(self.task.epochs)}"
        with self.processes.progress_bar(
            total=len(batches), initial=first, desc=title, unit="step"
        ) as bar:
            for batch in batches[first:]:
                yield batch
                bar.update()

    def step(self, batch: Batch, rate: float) -> float:
        """Take one optimizer step on the mean loss of `batch`; return that loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        accelerator = self.processes.accelerator
        loss = torch.zeros((), device=accelerator.device)
        for indices in self.processes.micro_batches(self.forward, range(len(batch.lengths))):
            partial_loss = batch.loss(self.forward, indices)
            # DDP averages the gradients over processes: the factor turns that into a sum
            accelerator.backward(partial_loss * self.processes.world_size)
            loss += partial_loss.detach()
        accelerator.clip_grad_norm_(self.forward.parameters(), self.stage.max_gradient_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.ema is not None:
            self.ema.update_parameters(self.task.model)
        (value,) = self.processes.sum([loss.item()])
        if value != value:
            raise TrainingError("the loss is NaN: lower learning_rate", code="loss-is-nan")
        return value

    @torch.no_grad()
    def weights_to_keep(self) -> PreTrainedModel:
        """Return the model to evaluate and save: the last weights or their moving average.

        With a `base_share`, the weights are interpolated with those that the run started from,
        which keeps more of what was learned before (Wortsman et al. 2022, "Robust Fine-Tuning of
        Zero-Shot Models").
        """
        model: Any = self.task.model if self.ema is None else self.ema.module
        if self.initial_weights:
            model = deepcopy(model)
            for name, tensor in model.state_dict().items():
                tensor.lerp_(self.initial_weights[name].to(tensor.device), self.stage.base_share)
        kept: PreTrainedModel = model
        return kept

    def log(self, entry: dict[str, float]) -> None:
        if self.processes.is_main:
            with (self.output / checkpoint.METRICS).open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
