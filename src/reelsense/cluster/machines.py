"""Connects to a Ray cluster, or starts one on this machine."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Disable usage statistics and raylet logging. Ray reads these variables when it is imported.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")

import ray
from ray.data.exceptions import SystemException
from ray.exceptions import RayError

from reelsense.errors import ClusterError, ReelsenseError
from reelsense.inference.engine import available_cores

_DEFAULT_PORT = 6379  # of the head node
_CONNECT_TIMEOUT = 10.0  # seconds
_CORES = 4  # of a classifier: with more, its Python code would be slower than its network


@contextmanager
def connected(address: str | None, **options: Any) -> Iterator[None]:
    """Connect to a cluster, and disconnect at the end of the context.

    `address` is HOST[:PORT] of the head node or "auto"; None starts a cluster on this machine.
    Raises ClusterError if there is no cluster at `address`.
    """
    for name in ("ray", "ray.data", "ray.serve"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if address is None:
        options |= {"address": "local", "num_cpus": available_cores(), "include_dashboard": False}
    else:
        options["address"] = address if address == "auto" else _reachable(address)
    try:
        ray.init(logging_level=logging.ERROR, **options)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError, RayError) as error:
        action = (
            f"connect to a Ray cluster at {address}" if address else "start Ray on this machine"
        )
        raise ClusterError(f"cannot {action}: {first_line(error)}", code="no-cluster") from error
    try:
        yield
    finally:
        ray.shutdown()


def usual_cores() -> int:
    """Return the default number of cores of a classifier: 4, or those of the smallest machine."""
    return max(1, min([_CORES, *machine_cores()]))


def machine_cores() -> list[int]:
    """Return the number of cores of each machine in the cluster that has any."""
    nodes = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    return [cores for cores in nodes if cores]


def _reachable(address: str) -> str:
    """Return `address` with its port if something listens there; Ray would retry for minutes."""
    host, colon, port = address.partition(":")
    port = port if colon else str(_DEFAULT_PORT)
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_TIMEOUT).close()
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"cannot connect to a Ray cluster at {address}: {error}; expected HOST[:PORT] of its "
            "head node, or auto",
            code="no-cluster",
        ) from error
    return f"{host}:{port}"


def first_line(error: Exception) -> str:
    """Return the first line of the message of an error from Ray, whose messages are long."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def own_error(error: BaseException) -> ReelsenseError | None:
    """Return the error of reelsense that caused an error from Ray; None if a machine died.

    An error of reelsense would occur again on any other machine, so a retry is useless.
    """
    # The errors that Ray raises for errors of a task are instances of both classes.
    while isinstance(error, RayError) or not isinstance(error, ReelsenseError):
        cause = getattr(error, "cause", None) or error.__cause__
        if cause is None:
            died = isinstance(error, RayError | SystemException)
            return None if died else ClusterError(f"{type(error).__name__}: {error}")
        error = cause
    error.args = (first_line(error),)  # Ray appends advice about retries
    return error
