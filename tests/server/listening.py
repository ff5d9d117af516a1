"""Serves an application through the connection layer, in threads of the test process."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from flask import Flask

from reelsense.server.process.listener import Connections


@contextmanager
def listening(app: Flask) -> Iterator[tuple[int, Connections]]:
    """Serve `app`; yield the port and the connections, which are drained at the end."""
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connections = Connections(app, listener)

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
    """Return a connection with a timeout of 10 seconds."""
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def connect_slow_reader(port: int) -> socket.socket:
    """Return a connection that can receive only a few kilobytes that are not read."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(10)
    connection.connect(("127.0.0.1", port))
    return connection


def answer_to(port: int, request: bytes) -> bytes:
    """Send `request` unchanged; return everything until the server closes."""
    with connect(port) as connection:
        connection.sendall(request)
        return rest_of(connection)


def rest_of(connection: socket.socket) -> bytes:
    """Return everything until the server closes."""
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)
