"""Describe the machine and measure process trees, from the /proc file system of Linux."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path

from reelsense.inference.engine import available_cores

# CPU features that matter for the speed of matrix products.
_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_int8", "amx_bf16")
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
_TERMINATION_SECONDS = 10.0  # until processes are killed


def describe(day: str | None = None) -> str:
    """Return the machine, its system and the `day` (default: today) in one line."""
    flags = _cpuinfo("flags").split()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return "; ".join(
        [
            processor(),
            f"{available_cores()} cores",
            " ".join(flag for flag in _FLAGS if flag in flags) or "none of " + " ".join(_FLAGS),
            f"{memory:.0f} GB of memory",
            f"{platform.system()} {platform.release()}",
            f"Python {platform.python_version()}",
            day or date.today().isoformat(),
        ]
    )


def processor() -> str:
    """Return the processor's name, family and model. In a cloud, the name alone says little."""
    numbers = f"family {_cpuinfo('cpu family')}, model {_cpuinfo('model')}"
    return f"{_cpuinfo('model name')} ({numbers})"


def _cpuinfo(key: str) -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return "unknown"


def command(data: Path, *without: str) -> str:
    """Return the command line of this process, with the path of README.md for `data`."""
    arguments = [
        "data/aclImdb" if argument == str(data) else argument
        for argument in sys.argv[1:]
        if argument not in without
    ]
    return shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *arguments])


def seconds(call: Callable[[], object]) -> float:
    """Return the duration of `call`."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def free_port() -> int:
    """Return an unused port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class ProcessTree:
    """A process and all its descendants, including those whose parent has ended."""

    def __init__(self, root: subprocess.Popen[bytes], others: set[int], started: float) -> None:
        """`others` are the children of this process that do not belong to the tree."""
        self.started = started  # by time.perf_counter
        self._root = root
        self._others = others
        self._reaped = _reaped_seconds()

    def alive(self) -> bool:
        """Return whether the root process is running."""
        return self._root.poll() is None

    def processes(self) -> list[int]:
        """Return the ids of all running processes."""
        children = _children()
        pids = [pid for pid in children.get(os.getpid(), []) if pid not in self._others]
        for pid in pids:
            pids += children.get(pid, [])  # the loop also visits these
        return pids

    def cpu_seconds(self) -> float:
        """Return the processor seconds used so far, including those of ended processes."""
        ticks = 0
        for pid in self.processes():
            with suppress(OSError):
                ticks += sum(map(int, _stat(pid)[11:15]))  # utime, stime, cutime, cstime
        return ticks / _CLOCK_TICKS + _reaped_seconds() - self._reaped

    def memory_mb(self) -> float:
        """Return the memory (PSS, which counts shared pages once) in units of 2**20 bytes."""
        kilobytes = 0
        for pid in self.processes():
            with suppress(OSError):
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        kilobytes += int(line.split()[1])
        return kilobytes / 1024

    def end(self) -> None:
        """Terminate all processes, and kill those that do not end."""
        deadline = time.monotonic() + _TERMINATION_SECONDS
        self._send(signal.SIGTERM)
        while self._reap():
            if time.monotonic() > deadline:
                self._send(signal.SIGKILL)
            time.sleep(0.02)

    def _reap(self) -> list[int]:
        """Reap ended processes; return those that are left."""
        self._root.poll()
        for pid in self.processes():
            if pid != self._root.pid:  # reaped by its Popen
                with suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
        return self.processes()

    def _send(self, number: signal.Signals) -> None:
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, number)


@contextmanager
def running(command: Sequence[str], environ: Mapping[str, str], log: Path) -> Iterator[ProcessTree]:
    """Run `command` while the block runs; its output goes to `log`.

    Only one at a time. Raises OSError if it cannot be started.
    """
    # Processes that lose their parent become our children instead of those of init.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    others = set(_children().get(os.getpid(), []))
    with log.open("wb") as output:
        started = time.perf_counter()
        root = subprocess.Popen(  # noqa: S603 - commands of this folder
            command,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    tree = ProcessTree(root, others, started)
    try:
        yield tree
    finally:
        tree.end()


def _children() -> dict[int, list[int]]:
    """Return the ids of the children of each process."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            children.setdefault(int(_stat(int(path.name))[1]), []).append(int(path.name))
    return children


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat (proc(5)) from the third one (state)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _reaped_seconds() -> float:
    """Return the processor seconds of the reaped children of this process."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
