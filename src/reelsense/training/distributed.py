"""Data-parallel training: how processes share a batch and agree on decisions.

torchrun and `accelerate launch` start the processes. Each holds the whole model and takes the same
steps on its part of every batch; PyTorch's DDP adds up the gradients. Without a launcher there is
one process. Knows neither losses nor files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, gather_object
from torch import Tensor, nn
from tqdm import tqdm

from reelsense.errors import StoppedError, TrainingError
from reelsense.inference.engine import available_cores
from reelsense.training.hardware import mixed_precision

_T = TypeVar("_T")


class Processes:
    """One process's view of all. The main process (rank 0) alone writes files and prints.

    All processes must make the same calls of `sum`, `any`, `gather`, `wait`, `check_same`, `stop`
    and `shut_down`.
    """

    def __init__(self, gradient_accumulation_steps: int = 1) -> None:
        """Join the processes; each splits its share of a batch into that many micro-batches."""
        self.gradient_accumulation_steps = gradient_accumulation_steps
        # Without a GPU, Accelerate would take each process for a separate run.
        on_cpus = _launcher_variable("WORLD_SIZE") > 1 and not torch.cuda.is_available()
        ddp_settings = DistributedDataParallelKwargs(gradient_as_bucket_view=True)  # saves a copy
        self.accelerator = Accelerator(
            mixed_precision=mixed_precision(), cpu=on_cpus, kwargs_handlers=[ddp_settings]
        )
        self.world_size: int = self.accelerator.num_processes
        self.rank: int = self.accelerator.process_index
        self.is_main: bool = self.accelerator.is_main_process
        if on_cpus:
            _divide_cores()

    def prepare(
        self,
        model: nn.Module,
        forward: Callable[..., Tensor],
        optimizer: torch.optim.Optimizer,
    ) -> tuple[nn.Module, torch.optim.Optimizer]:
        """Return a module that computes `forward(model, ...)`, and the optimizer, on this device.

        `model` is moved there too and keeps sharing its weights with the module.
        """
        module, prepared = self.accelerator.prepare(_Forward(model, forward), optimizer)
        return module, prepared

    def micro_batches(self, module: nn.Module, batch: Sequence[int]) -> Iterator[list[int]]:
        """Yield this process's micro-batches of `batch`.

        The last one is yielded even if it is empty: in its backward pass through `module` the
        processes exchange gradients, and each waits for all.
        """
        parts = self.world_size * self.gradient_accumulation_steps
        *first, last = [
            list(batch[start::parts]) for start in range(self.rank, parts, self.world_size)
        ][::-1]
        for part in filter(None, first):
            with self.accelerator.no_sync(module):
                yield part
        yield last

    def shard(self, batches: Sequence[_T]) -> Sequence[_T]:
        """Return this process's share of `batches`; each batch is in one share."""
        return batches[self.rank :: self.world_size]

    def sum(self, values: Sequence[float]) -> list[float]:
        """Return the sums of `values` over all processes."""
        if self.world_size == 1:
            return list(values)
        own = torch.tensor(values, dtype=torch.float64, device=self.accelerator.device)
        sums: list[float] = self.accelerator.reduce(own, reduction="sum").tolist()
        return sums

    def any(self, *flags: bool) -> list[bool]:
        """Return for each flag whether it is set in any process."""
        return [count > 0 for count in self.sum(flags)]

    def gather(self, value: _T) -> list[_T]:
        """Return the `value` of every process."""
        values: list[_T] = gather_object([value])
        return values

    def wait(self) -> None:
        """Wait until all processes get here."""
        self.accelerator.wait_for_everyone()

    def check_same(self, fingerprint: str) -> None:
        """Raise TrainingError if the processes are about to train on different things."""
        if len(set(self.gather(fingerprint))) > 1:
            raise TrainingError(
                "the processes have different recipes, base models or data: start all of them "
                "with the same options",
                code="processes-differ",
            )

    def print(self, line: str) -> None:
        """Print `line` in the main process."""
        if self.is_main:
            print(line, flush=True)

    def progress_bar(self, **settings: Any) -> tqdm[Any]:
        """Return a progress bar, shown by the main process."""
        return tqdm(disable=not self.is_main, **settings)

    def shut_down(self) -> None:
        """Wait for all processes and end their connections.

        Without this, a process that exits first can crash the others: gloo's threads still run.
        """
        self.wait()
        self.accelerator.end_training()

    def stop(self, reason: str) -> NoReturn:
        """Shut down and raise StoppedError in the main process; the others exit silently."""
        self.shut_down()
        if self.is_main:
            raise StoppedError(reason)
        raise SystemExit(1)


class _Forward(nn.Module):
    """Makes a function of a model the forward pass of a module, because DDP wraps modules."""

    def __init__(self, model: nn.Module, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.model, self.function = model, function

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(self.model, *inputs)


def _launcher_variable(name: str) -> int:
    """Return a variable that the launcher sets; 1 without a launcher."""
    return int(os.environ.get(name) or 1)


def _divide_cores() -> None:
    """Give this process its share of the machine's cores, unless the user chose a number.

    torchrun and `accelerate launch` set OMP_NUM_THREADS to 1 where the user set nothing, so a 1 is
    ignored: to use one thread per process on many cores, use `taskset`.
    """
    if os.environ.get("OMP_NUM_THREADS", "1") == "1":
        torch.set_num_threads(max(1, available_cores() // _launcher_variable("LOCAL_WORLD_SIZE")))
