"""The machines: a cluster that runs already, or this machine alone."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

# Before its import, which reads them: nobody is told, and its core keeps its thoughts for its logs.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")

import ray
from ray.exceptions import RayError

from reelsense.errors import ClusterError, ReelsenseError

_PORT = 6379
"""Of a head, unless it is told otherwise."""

_PATIENCE = 10.0
"""Seconds in which a head has to answer."""


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Connect to the cluster at `address`, or start one on this machine; let go of it at the end.

    Raises ClusterError if there is none.
    """
    for name in ("ray", "ray.data", "ray.serve"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if address and address != "auto":
        address = _answering(address)
    try:
        ray.init(
            address=address or "local",
            log_to_driver=False,
            logging_level=logging.ERROR,
            include_dashboard=None if address else False,
        )
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ClusterError(f"there is no cluster at {address or 'hand'}: {reason}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _answering(address: str) -> str:
    """Return `address` with its port, where something answers; Ray itself would try for minutes."""
    host, colon, port = address.partition(":")
    number = port if colon else str(_PORT)
    try:
        socket.create_connection((host, int(number)), timeout=_PATIENCE).close()
    except (OSError, ValueError) as error:
        raise ClusterError(f"there is no cluster at {address}: {error}") from error
    return f"{host}:{number}"


def reelsense_error(error: BaseException | None) -> ReelsenseError | None:
    """Return the error of ours that is at the bottom of one of Ray's, if there is one."""
    while error is not None:
        if isinstance(error, ReelsenseError):
            return error
        error = getattr(error, "cause", None) or error.__cause__
    return None
