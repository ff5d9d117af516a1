"""A Ray cluster of three nodes on this machine: a head without cores, and two with one core."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray")
# Importing Ray adds its own timestamp to every log line, which would break other tests.
logging.setLogRecordFactory(logging.LogRecord)


@pytest.fixture(autouse=True, scope="module")
def plain_log() -> Iterator[None]:
    yield
    logging.setLogRecordFactory(logging.LogRecord)


class Machines:
    """Nodes that can be removed and added again."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self._cluster: Any = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
        )
        self.address = str(self._cluster.address)
        self._workers = [self._cluster.add_node(num_cpus=1) for _ in range(2)]

    def lose_one(self) -> None:
        self._cluster.remove_node(self._workers.pop(), allow_graceful=False)

    def restore(self) -> None:
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
    three_machines.restore()
    return three_machines


def processes(title: str) -> list[int]:
    """Return the ids of the processes whose command line contains `title`."""
    ids = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                command = (folder / "cmdline").read_bytes()
            except OSError:  # the process has ended
                continue
            if title.encode() in command:
                ids.append(int(folder.name))
    return ids
