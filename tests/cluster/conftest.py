"""A cluster of three machines on this one: a head that works on nothing, and two with a core."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray")
# Ray's import adds its own time to every line of any log; other tests look at theirs.
logging.setLogRecordFactory(logging.LogRecord)


@pytest.fixture(autouse=True, scope="module")
def plain_log() -> Iterator[None]:
    yield
    logging.setLogRecordFactory(logging.LogRecord)


class Machines:
    """Machines that can be taken away and given back."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self._cluster: Any = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
        )
        self.address = str(self._cluster.address)
        self._workers = [self._cluster.add_node(num_cpus=1) for _ in range(2)]

    def lose_one(self) -> None:
        self._cluster.remove_node(self._workers.pop(), allow_graceful=False)

    def make_whole(self) -> None:
        while len(self._workers) < 2:
            self._workers.append(self._cluster.add_node(num_cpus=1))

    def close(self) -> None:
        self._cluster.shutdown()


@pytest.fixture(scope="module")
def three_machines() -> Iterator[Machines]:
    machines = Machines()
    yield machines
    machines.close()


@pytest.fixture
def machines(three_machines: Machines) -> Machines:
    three_machines.make_whole()
    return three_machines


def processes(title: str) -> list[int]:
    """The processes whose command line says `title`."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                command = (folder / "cmdline").read_bytes()
            except OSError:  # it has ended
                continue
            if title.encode() in command:
                found.append(int(folder.name))
    return found
