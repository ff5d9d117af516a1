"""An application behind the server's own connections, in threads of the test's process."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from flask import Flask

from reelsense.server.middleware import problems
from reelsense.server.process.listener import Connections


@contextmanager
def listening(app: Flask) -> Iterator[tuple[int, Connections]]:
    """Serve `app`; yields the port, and the connections, which drain at the end."""
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connections = Connections(
            app,
            [listener],
            app.extensions["reelsense"].settings,
            lambda status: problems.malformed_request_response(app, status),
        )

        def serve() -> None:
            while not ended.is_set():
                connections.turn(0.05)
            connections.drain(5, lambda: None)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1], connections
        finally:
            ended.set()
            connections.wake()
            thread.join(20)
            assert not thread.is_alive()
            connections.close()


def connect(port: int) -> socket.socket:
    """Return a connection on which nothing takes longer than 10 seconds."""
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def answer_to(port: int, request: bytes) -> bytes:
    """Send `request` as it is; return what comes until the server closes."""
    with connect(port) as connection:
        connection.sendall(request)
        return rest_of(connection)


def rest_of(connection: socket.socket) -> bytes:
    """Return what comes until the server closes."""
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)
