"""Start the server: gunicorn, one process with threads.

The process owns the queue and the engine, and the engine owns the processor's cores; more
processes would only take them from each other.
"""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication

from reelsense import bundle as bundles
from reelsense.bundle import Manifest
from reelsense.errors import ReelsenseError
from reelsense.inference.cache import REMEMBERED
from reelsense.server import create_app

THREADS = 128
"""Requests in hand at a time. Nearly all of them wait for the network, which finds the better
batches the more there are."""


def run(host: str, port: int, model: Path | None = None, *, remembered: int = REMEMBERED) -> None:
    """Serve the bundle in `model` (default: the one that comes along) until told to stop.

    It keeps the `remembered` last answers for texts that come again.
    Raises BundleError if it cannot be loaded and ReelsenseError if the address is taken.
    """
    folder = model or bundles.DEFAULT
    manifest = bundles.read(folder).manifest
    _check_free(host, port)
    _Server(folder, manifest, host, port, remembered).run()


def _check_free(host: str, port: int) -> None:
    """Say at once what gunicorn would try for five seconds and then say in five lines."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        hint = (
            "; choose another with --port, or PORT in the environment"
            if error.errno == errno.EADDRINUSE
            else ""
        )
        raise ReelsenseError(
            f"cannot listen on {host}, port {port}: {error.strerror}{hint}"
        ) from error


class _Server(BaseApplication):  # type: ignore[misc]  # gunicorn ships no types
    def __init__(
        self, folder: Path, manifest: Manifest, host: str, port: int, remembered: int
    ) -> None:
        self._folder, self._manifest, self._remembered = folder.absolute(), manifest, remembered
        self._host, self._port = host, port
        super().__init__()

    def load_config(self) -> None:
        host = f"[{self._host}]" if ":" in self._host else self._host
        settings = {
            "bind": f"{host}:{self._port}",
            "workers": 1,
            "worker_class": "gthread",
            "threads": THREADS,
            "loglevel": "warning",
            "proc_name": "reelsense",
            # A whole review fits into GET /predict?sentence=...; gunicorn keeps a cap of 1 MB.
            "limit_request_line": 0,
            "when_ready": self._announce,
            # It would lie in the user's home, and two servers would fight for it.
            "control_socket_disable": True,
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        # Read anew: a worker that is started later must not run a file that has changed since.
        return create_app(bundles.read(self._folder), remembered=self._remembered)

    def _announce(self, arbiter: Any) -> None:
        manifest = self._manifest
        port = arbiter.LISTENERS[0].sock.getsockname()[1]
        host = f"[{self._host}]" if ":" in self._host else self._host
        print(
            f"reelsense serves {manifest.name} {manifest.version} on http://{host}:{port} "
            f"(process {os.getpid()}; Ctrl-C stops it)",
            flush=True,
        )
