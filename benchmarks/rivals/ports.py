"""Ports for the other listeners of a server."""

from __future__ import annotations

import socket


def free_port() -> int:
    """Return an unused port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
