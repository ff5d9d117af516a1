"""The machines: a cluster that runs already, or this machine alone."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Before its import, which reads them: nobody is told, and its core keeps its thoughts for its logs.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")

import ray
from ray.data.exceptions import SystemException
from ray.exceptions import RayError

from reelsense.errors import ClusterError, ReelsenseError
from reelsense.inference.engine import available_cores

_PORT = 6379
"""Of a head, unless it is told otherwise."""

_PATIENCE = 10.0
"""Seconds in which a head has to answer."""

_CORES = 4
"""Of a classifier: so few that its Python keeps up with its network."""


@contextmanager
def connected(address: str | None, **more: Any) -> Iterator[None]:
    """Join the cluster at `address`, or make one of this machine; let go of it at the end.

    `more` is for Ray. Raises ClusterError if there is none.
    """
    for name in ("ray", "ray.data", "ray.serve"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if address is None:
        more |= {"address": "local", "num_cpus": available_cores(), "include_dashboard": False}
    else:
        more["address"] = address if address == "auto" else _answering(address)
    try:
        ray.init(logging_level=logging.ERROR, **more)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError, RayError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ClusterError(f"there is no cluster of Ray at {more['address']}: {reason}") from error
    try:
        yield
    finally:
        ray.shutdown()


def usual_cores() -> int:
    """Return how many cores a classifier gets: _CORES, or those of the smallest machine."""
    return max(1, min([_CORES, *machine_cores()]))


def machine_cores() -> list[int]:
    """Return the cores of every machine that works."""
    nodes = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    return [cores for cores in nodes if cores]


def _answering(address: str) -> str:
    """Return `address` with its port, where something answers; Ray itself would try for minutes."""
    host, colon, port = address.partition(":")
    number = port if colon else str(_PORT)
    try:
        socket.create_connection((host, int(number)), timeout=_PATIENCE).close()
    except (OSError, ValueError) as error:
        raise ClusterError(f"there is no cluster at {address}: {error}") from error
    return f"{host}:{number}"


def own_error(error: BaseException | None) -> ReelsenseError | None:
    """Return what is at the bottom of an error of Ray's, if that is nothing that has died.

    What our own code raised on another machine comes again wherever it is tried.
    """
    while error is not None and not isinstance(error, ReelsenseError):
        below = getattr(error, "cause", None) or error.__cause__
        if below is None:
            died = isinstance(error, RayError | SystemException)
            return None if died else ClusterError(f"{type(error).__name__}: {error}")
        error = below
    return error
