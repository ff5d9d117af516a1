"""Training on several processes: who has which part of a batch, and what they tell each other.

torchrun and `accelerate launch` start them. Each holds the whole model and goes through the same
steps; of every batch each has its parts, and their gradients are added up (PyTorch's DDP). Without
a launcher there is one process, which has it all. Knows no loss and no files.
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
    """What one of several processes knows of all; rank 0 is the main one, which alone writes.

    All of them must call `sum`, `any`, `gather`, `wait`, `check_same`, `stop` and `end` alike.
    """

    def __init__(self, accumulate: int = 1) -> None:
        """`accumulate`: into how many parts, one after another, each cuts its share of a batch."""
        self.accumulate = accumulate
        # Without a GPU, Accelerate has to be told, or it takes each process for a run of its own.
        on_processors = _launched("WORLD_SIZE") > 1 and not torch.cuda.is_available()
        exchange = DistributedDataParallelKwargs(gradient_as_bucket_view=True)  # saves a copy
        self.accelerator = Accelerator(
            mixed_precision=mixed_precision(), cpu=on_processors, kwargs_handlers=[exchange]
        )
        self.count: int = self.accelerator.num_processes
        self.rank: int = self.accelerator.process_index
        self.main: bool = self.accelerator.is_main_process
        if on_processors:
            _share_cores()

    def prepare(
        self, model: nn.Module, way: Callable[..., Tensor], optimizer: torch.optim.Optimizer
    ) -> tuple[nn.Module, torch.optim.Optimizer]:
        """Return what computes `way(model, ...)` for training, and the optimizer, on this device.

        `model` moves there too, and its weights are the ones that are trained.
        """
        forward, prepared = self.accelerator.prepare(_Way(model, way), optimizer)
        return forward, prepared

    def parts(self, forward: nn.Module, batch: Sequence[int]) -> Iterator[list[int]]:
        """Yield the parts of `batch` that are this process's, one after another.

        The last one may be empty and is there all the same: the pass back through `forward` at
        that one is where processes exchange gradients, and each waits for all.
        """
        parts = self.count * self.accumulate
        *first, last = [list(batch[n::parts]) for n in range(self.rank, parts, self.count)][::-1]
        for part in filter(None, first):
            with self.accelerator.no_sync(forward):
                yield part
        yield last

    def share(self, batches: Sequence[_T]) -> Sequence[_T]:
        """Return those of `batches` that are this process's, where each is looked at once."""
        return batches[self.rank :: self.count]

    def sum(self, values: Sequence[float]) -> list[float]:
        """Return the sums of `values` over all processes."""
        if self.count == 1:
            return list(values)
        mine = torch.tensor(values, dtype=torch.float64, device=self.accelerator.device)
        sums: list[float] = self.accelerator.reduce(mine, reduction="sum").tolist()
        return sums

    def any(self, *asked: bool) -> list[bool]:
        """Return which of `asked` any process says yes to."""
        return [yes > 0 for yes in self.sum(asked)]

    def gather(self, value: _T) -> list[_T]:
        """Return the `value` of every process."""
        values: list[_T] = gather_object([value])
        return values

    def wait(self) -> None:
        """Wait until all processes are here."""
        self.accelerator.wait_for_everyone()

    def check_same(self, fingerprint: str) -> None:
        """Raise TrainingError if the processes are about to train on different things."""
        if len(set(self.gather(fingerprint))) > 1:
            raise TrainingError("the processes were given different recipes, bases or reviews")

    def say(self, line: str) -> None:
        """Print `line`, once."""
        if self.main:
            print(line, flush=True)

    def bar(self, **settings: Any) -> tqdm[Any]:
        """Return a progress bar, which is seen once."""
        return tqdm(disable=not self.main, **settings)

    def end(self) -> None:
        """Part, when all are here: the launcher ends the others of one that ended in a bad way.

        It would be a bad way to go with gloo's threads still running.
        """
        self.wait()
        self.accelerator.end_training()

    def stop(self, reason: str) -> NoReturn:
        """Raise StoppedError; of several processes one says why, and the others just end."""
        self.end()
        if self.main:
            raise StoppedError(reason)
        raise SystemExit(1)


class _Way(nn.Module):
    """What `way` computes with `model`, as the forward of a module: the only thing DDP sees."""

    def __init__(self, model: nn.Module, way: Callable[..., Tensor]) -> None:
        super().__init__()
        self.model, self.way = model, way

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.way(self.model, *inputs)


def _launched(name: str) -> int:
    """What the launcher noted under `name`; without one there is one process."""
    return int(os.environ.get(name) or 1)


def _share_cores() -> None:
    """Give this process its share of the machine's cores, unless the user chose a number.

    Where the user set nothing, torchrun and `accelerate launch` set OMP_NUM_THREADS to 1, so a 1
    is taken for theirs: who wants one thread on each of many cores says so with `taskset`.
    """
    if os.environ.get("OMP_NUM_THREADS", "1") == "1":
        torch.set_num_threads(max(1, available_cores() // _launched("LOCAL_WORLD_SIZE")))
