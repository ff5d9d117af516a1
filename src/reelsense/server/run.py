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
from reelsense.server import create_app
from reelsense.server.config import Settings, variable
from reelsense.server.tracing import log_settings


def run(settings: Settings) -> None:
    """Serve until told to stop.

    Raises BundleError if the bundle cannot be loaded and ReelsenseError if the address is taken.
    """
    folder = Path(settings.model or bundles.DEFAULT).absolute()
    manifest = bundles.read(folder).manifest
    _check_free(settings.host, settings.port)
    _Server(settings.model_copy(update={"model": str(folder)}), manifest).run()


def _check_free(host: str, port: int) -> None:
    """Say at once what gunicorn would try for five seconds and then say in five lines."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except UnicodeError as error:
        raise ReelsenseError(f"cannot listen on {host}: that is no name of a host") from error
    except OSError as error:
        hint = (
            f"; choose another with --port or {variable('port')}"
            if error.errno == errno.EADDRINUSE
            else ""
        )
        raise ReelsenseError(
            f"cannot listen on {host}, port {port}: {error.strerror}{hint}"
        ) from error


class _Server(BaseApplication):  # type: ignore[misc]  # gunicorn ships no types
    def __init__(self, settings: Settings, manifest: Manifest) -> None:
        self._settings, self._manifest = settings, manifest
        super().__init__()

    def load_config(self) -> None:
        given = self._settings
        settings = {
            "bind": f"{self._host()}:{given.port}",
            "workers": 1,
            "worker_class": "gthread",
            "threads": given.threads,
            "logconfig_dict": log_settings(given.log_level),
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
        # Reads the bundle anew: a worker that is started later must not run a file that has
        # changed since.
        return create_app(self._settings)

    def _announce(self, arbiter: Any) -> None:
        manifest = self._manifest
        port = arbiter.LISTENERS[0].sock.getsockname()[1]
        print(
            f"reelsense serves {manifest.name} {manifest.version} on http://{self._host()}:{port} "
            f"(process {os.getpid()}; Ctrl-C stops it)",
            flush=True,
        )

    def _host(self) -> str:
        host = self._settings.host
        return f"[{host}]" if ":" in host else host
