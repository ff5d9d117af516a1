"""The processes of a training run: interrupts, memory, and how several share each batch.

torchrun and `accelerate launch` start them. Each has the whole model and takes the same steps on
its part of every batch; PyTorch's DDP adds up the gradients. Knows neither losses nor files.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, gather_object
from torch import Tensor, nn
from tqdm import tqdm

from reelsense.errors import StoppedError, TrainingError
from reelsense.inference.engine import available_cores

_T = TypeVar("_T")

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # malloc.h


class Processes:
    """One process's view of all. The main process (rank 0) alone writes files and prints.

    All processes must make the same calls of `sum`, `any`, `gather`, `wait`, `check_same`, `stop`
    and `shut_down`.
    """

    def __init__(self, gradient_accumulation_steps: int = 1) -> None:
        """Join the processes; each splits its part of a batch into that many micro-batches."""
        self.gradient_accumulation_steps = gradient_accumulation_steps
        # Without a GPU, Accelerate would take each process for a separate run.
        on_cpus = _launcher_variable("WORLD_SIZE") > 1 and not torch.cuda.is_available()
        ddp_settings = DistributedDataParallelKwargs(gradient_as_bucket_view=True)  # saves a copy
        self.accelerator = Accelerator(
            mixed_precision=_mixed_precision(), cpu=on_cpus, kwargs_handlers=[ddp_settings]
        )
        self.world_size: int = self.accelerator.num_processes
        self.rank: int = self.accelerator.process_index
        self.is_main: bool = self.accelerator.is_main_process
        if on_cpus:
            _divide_cores()

    def prepare(
        self, model: nn.Module, forward: Callable[..., Tensor], optimizer: torch.optim.Optimizer
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
        """Return this process's share of `batches`."""
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
        """Return a progress bar, shown by the main process if stderr is a terminal."""
        return tqdm(disable=None if self.is_main else True, **settings)

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
    """A function of a model as the forward pass of a module: DDP wraps modules only."""

    def __init__(self, model: nn.Module, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.model, self.function = model, function

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(self.model, *inputs)


def _mixed_precision() -> str:
    """Return "bf16" where the hardware supports it, else "no".

    Emulation is slow: on a Zen 3 core a step took 16 times as long as in fp32.
    """
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no"
    processor = torch.cpu.get_capabilities()
    return "bf16" if processor.get("avx512_bf16") or processor.get("amx_bf16") else "no"


def _launcher_variable(name: str) -> int:
    return int(os.environ.get(name) or 1)  # not set without a launcher


def _divide_cores() -> None:
    """Give this process its share of the machine's cores, unless the user chose a number.

    torchrun and `accelerate launch` set OMP_NUM_THREADS to 1 where the user set nothing, so a 1 is
    ignored: to use one thread per process on many cores, use `taskset`.
    """
    if os.environ.get("OMP_NUM_THREADS", "1") == "1":
        torch.set_num_threads(max(1, available_cores() // _launcher_variable("LOCAL_WORLD_SIZE")))


def keep_freed_memory() -> None:
    """Make glibc keep freed memory instead of returning it to the kernel in every step.

    Every step allocates and frees the same gigabytes. By default glibc maps and unmaps each large
    block, which costs page faults. Does nothing with other C libraries.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "gnu_get_libc_version"):
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(_M_TOP_PAD, 64 * 2**20)


def return_freed_memory() -> None:
    """Return the memory that glibc has kept to the kernel.

    Batches of many shapes leave gaps between blocks: without this, the process grew from 5 to 12.5
    GB in an hour.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "malloc_trim"):
            libc.malloc_trim(0)


class Interrupt:
    """Whether the user has requested a stop."""

    requested = False


@contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Turn the first Ctrl-C or SIGTERM into a request, so that the current step is completed.

    A second one stops immediately.
    """
    interrupt = Interrupt()

    def request(_number: int, _frame: FrameType | None) -> None:
        if interrupt.requested:
            raise KeyboardInterrupt
        interrupt.requested = True

    before = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
