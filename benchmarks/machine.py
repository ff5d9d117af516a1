"""Describe the machine and measure process trees, from the /proc file system of Linux.

Knows nothing of servers: a tree of processes is started, watched, and ended whole.
"""

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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path

from reelsense.inference.engine import available_cores

_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_int8", "amx_bf16")
"""What makes products of matrices fast."""

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_CLOCK = os.sysconf("SC_CLK_TCK")
_PATIENCE = 10.0
"""Seconds that processes get to end by themselves."""


def describe(day: str | None = None) -> str:
    """Return the machine, its system and the `day` (today, if None) in one line."""
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
    """Return the processor's name, with family and model: a cloud's names say little."""
    numbers = f"family {_cpuinfo('cpu family')}, model {_cpuinfo('model')}"
    return f"{_cpuinfo('model name')} ({numbers})"


def _cpuinfo(key: str) -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return "unknown"


def command(data: Path, *without: str) -> str:
    """Return how this program was called, for others: `data` lies elsewhere at their place."""
    arguments = [
        "data/aclImdb" if each == str(data) else each
        for each in sys.argv[1:]
        if each not in without
    ]
    return shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *arguments])


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Tree:
    """A process and all that it started, also those whose parent is gone."""

    def __init__(self, root: subprocess.Popen[bytes], strangers: set[int], started: float) -> None:
        """`strangers` are the children of this process that do not belong to it."""
        self.started = started
        """By time.perf_counter."""
        self._root = root
        self._strangers = strangers
        self._reaped = _reaped_seconds()

    def alive(self) -> bool:
        """Say whether the first process still runs."""
        return self._root.poll() is None

    def processes(self) -> list[int]:
        """Return the ids of all that are there."""
        children = _children()
        found = [pid for pid in children.get(os.getpid(), []) if pid not in self._strangers]
        for pid in found:
            found += children.get(pid, [])  # grows while we walk it
        return found

    def cpu_seconds(self) -> float:
        """Return the processor seconds of all so far, with those that have ended."""
        ticks = 0
        for pid in self.processes():
            with suppress(OSError):
                ticks += sum(map(int, _stat(pid)[11:15]))  # utime, stime, cutime, cstime
        return ticks / _CLOCK + _reaped_seconds() - self._reaped

    def memory_mb(self) -> float:
        """Return the memory of all, in 2**20 bytes; what several share counts once (PSS)."""
        kilobytes = 0
        for pid in self.processes():
            with suppress(OSError):
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        kilobytes += int(line.split()[1])
        return kilobytes / 1024

    def end(self) -> None:
        """Ask all to end, and kill those that do not."""
        deadline = time.monotonic() + _PATIENCE
        self._send(signal.SIGTERM)
        while self._left():
            if time.monotonic() > deadline:
                self._send(signal.SIGKILL)
            time.sleep(0.02)

    def _left(self) -> list[int]:
        """Bury the dead; return who is left."""
        self._root.poll()
        for pid in self.processes():
            if pid != self._root.pid:  # whose end its Popen would not learn of
                with suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
        return self.processes()

    def _send(self, number: signal.Signals) -> None:
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, number)


@contextmanager
def running(command: Sequence[str], environ: Mapping[str, str], log: Path) -> Iterator[Tree]:
    """Run `command` in a process group of its own while the block runs; what it says goes to `log`.

    Only one at a time. Raises OSError if it cannot be started.
    """
    # What loses its parent becomes our child, and not that of the system's first process.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    strangers = set(_children().get(os.getpid(), []))
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
    tree = Tree(root, strangers, started)
    try:
        yield tree
    finally:
        tree.end()


def _children() -> dict[int, list[int]]:
    """Return the ids of each process's children."""
    found: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            found.setdefault(int(_stat(int(path.name))[1]), []).append(int(path.name))
    return found


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat (proc(5)) from the third, the state, on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _reaped_seconds() -> float:
    """Return the processor seconds of the children of this process that were waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
