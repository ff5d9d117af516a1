"""The training loop of pre-training, fine-tuning and distillation.

A `TrainingTask` has the model, the batches, the loss and the evaluation. States are saved every few
minutes: an interrupted run continues exactly where it stopped. Knows neither texts nor labels.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers import PreTrainedModel, set_seed

from reelsense.errors import TrainingError
from reelsense.training import checkpoint
from reelsense.training.checkpoint import TrainingProgress
from reelsense.training.processes import (
    Interrupt,
    Processes,
    interruptible,
    keep_freed_memory,
    return_freed_memory,
)
from reelsense.training.recipe import Stage
from reelsense.training.speed import StepTimer, throughput

CHECKPOINT_EVERY = 180.0
"""Seconds between two saved states."""

_MIN_GAIN = 0.005
"""Smaller decreases of the validation loss do not delay early stopping."""


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
    epochs: list[list[list[int]]]  # the batches of each epoch, as indices of examples
    fingerprint: str  # a hash of everything that a resumed run must share with the first

    def forward(self, model: Any, *inputs: Tensor) -> Tensor:
        """Compute the logits from which the loss is computed."""
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


def train(
    make_task: Callable[[Stage, Path, Processes], TrainingTask],
    stage: Stage,
    output: Path,
    *,
    processes: Processes | None = None,
    resume: bool = False,
    checkpoint_every: float = CHECKPOINT_EVERY,
) -> list[dict[str, float]]:
    """Train as `stage` describes; return the validation metrics of every epoch.

    At any time `output` contains the checkpoint of the best epoch so far and a state to resume
    from.

    Args:
        make_task: Is called with the arguments `stage`, `output` and `processes`.
        stage: Settings of the stage.
        output: Folder for checkpoint, state and metrics.
        processes: By default those that a launcher has started.
        resume: Continue from the state saved in `output`.
        checkpoint_every: Seconds between two saved states.

    Raises:
        StoppedError: The user interrupted the run. Its state is saved.
        TrainingError: The run cannot continue.
    """
    processes = processes or Processes()
    if not resume:
        checkpoint.create_output_folder(output)
        processes.wait()  # until all have checked the folder: the main process writes to it soon
    keep_freed_memory()
    set_seed(stage.seed)
    task = make_task(stage, output, processes)
    task.epochs = _limit_steps(task.epochs, stage.max_steps)
    processes.check_same(task.fingerprint)

    run = _Run(task, stage, output, processes)
    if resume:
        run.load_state()
    else:
        run.save_state()
    with interruptible() as interrupt:
        while run.progress.epoch < len(task.epochs) and not run.is_out_of_patience():
            speed = run.train_epoch(interrupt, checkpoint_every)
            run.finish_epoch(speed)
    if run.progress.epoch < len(task.epochs):
        processes.print(
            f"stopped early: {stage.patience} epochs hardly lowered the validation loss"
        )
    return run.progress.history


def _limit_steps(epochs: list[list[list[int]]], max_steps: int) -> list[list[list[int]]]:
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
        self.total_steps = sum(map(len, task.epochs))
        self.forward, self.optimizer = processes.prepare(
            task.model, task.forward, _optimizer(task.model, stage)
        )
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
        self.timer = StepTimer()

    def is_out_of_patience(self) -> bool:
        """Return whether the last epochs, as many as `patience`, hardly lowered the loss."""
        losses = [metrics["loss"] for metrics in self.progress.history]
        patience = self.stage.patience
        return (
            0 < patience < len(losses)
            and min(losses[:-patience]) - min(losses[-patience:]) < _MIN_GAIN
        )

    def train_epoch(self, interrupt: Interrupt, checkpoint_every: float) -> dict[str, float]:
        """Take the remaining steps of the current epoch; return the training speed."""
        progress, batches = self.progress, self.task.epochs[self.progress.epoch]
        bar = self.processes.progress_bar(
            total=len(batches),
            initial=progress.step,
            desc=f"epoch {progress.epoch + 1}/{len(self.task.epochs)}",
            unit="step",
        )
        start, tokens = time.monotonic(), 0
        self.task.model.train()
        with bar:
            for indices in batches[progress.step :]:
                rate = learning_rate(progress.steps_done, self.total_steps, self.stage)
                batch = self.task.batch(indices, progress)
                loss = self.step(batch, rate)
                tokens += sum(batch.lengths)
                progress.step += 1
                progress.steps_done += 1
                self.log({"step": progress.steps_done, "loss": loss, "rate": rate})
                bar.update()
                if message := self.timer.estimate(self.total_steps - progress.steps_done):
                    self.processes.print(message)

                save_is_due = time.monotonic() - self.last_save > checkpoint_every
                stop, save = self.processes.any(interrupt.requested, save_is_due)
                if stop or save:
                    self.save_state()
                if stop:
                    self.processes.stop(
                        f"stopped; the state is saved in {self.output}: use --resume"
                    )
        return throughput(self.task.model, tokens, time.monotonic() - start, self.processes)

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
            raise TrainingError(
                "the loss is NaN: reduce learning_rate in the recipe", code="loss-is-nan"
            )
        return value

    def finish_epoch(self, speed: dict[str, float]) -> None:
        """Evaluate; save the checkpoint if it is the best so far; save the state; log."""
        progress, model = self.progress, self.weights_to_keep()
        metrics = self.task.evaluate(model)
        best_loss = min((past["loss"] for past in progress.history), default=float("inf"))
        is_best = metrics["loss"] < best_loss
        if is_best and self.processes.is_main:
            self.task.save(model, metrics)
        progress.history.append(metrics)
        progress.epoch += 1
        progress.step = 0
        self.log({"epoch": progress.epoch, **metrics, "step": progress.steps_done, **speed})
        self.save_state()
        values = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
        best = " (best so far)" if is_best else ""
        rate = f"{speed['tokens_per_second']:,} tokens/s"
        peak = f", {speed['share_of_peak']:.1%} of peak" if "share_of_peak" in speed else ""
        self.processes.print(f"epoch {progress.epoch}: {values}{best}; {rate}{peak}")

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

    def save_state(self) -> None:
        checkpoint.save_state(
            self.output, self.task.fingerprint, self._parts(), self.progress, self.processes
        )
        return_freed_memory()
        self.last_save = time.monotonic()

    def load_state(self) -> None:
        self.progress = checkpoint.load_state(
            self.output, self.task.fingerprint, self._parts(), self.processes
        )
        self.last_save = time.monotonic()

    def _parts(self) -> dict[str, Any]:
        parts = {"model": self.task.model, "optimizer": self.optimizer}
        return parts if self.ema is None else parts | {"average": self.ema}

    def log(self, entry: dict[str, float]) -> None:
        if self.processes.is_main:
            with (self.output / checkpoint.METRICS).open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")


def _optimizer(model: nn.Module, stage: Stage) -> torch.optim.Optimizer:
    """Return AdamW with weight decay for matrices only, as Devlin et al. (2019, A.2)."""
    parameters = [weights for weights in model.parameters() if weights.requires_grad]
    matrices = [weights for weights in parameters if weights.ndim > 1]
    vectors = [weights for weights in parameters if weights.ndim <= 1]
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": stage.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=stage.learning_rate, fused=True)


def learning_rate(step: int, total_steps: int, stage: Stage) -> float:
    """Return the learning rate after `step` steps: linear warm-up, then linear decay to 0."""
    warmup_steps = max(1, round(total_steps * stage.warmup))
    rise = (step + 1) / warmup_steps
    decay = (total_steps - step) / max(1, total_steps - warmup_steps)
    return stage.learning_rate * max(0.0, min(rise, decay, 1.0))
