"""Starts the server: a gunicorn supervisor with one or several multi-threaded worker processes.

Each worker has its own queue and engine, and the engine has its share of the cores.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication
from pydantic import SecretStr

from reelsense.bundle import Manifest, read_bundle
from reelsense.errors import SettingsError
from reelsense.server.app import create_app
from reelsense.server.drift import remove_files
from reelsense.server.middleware import metrics, tracing
from reelsense.server.middleware.auth import check_access
from reelsense.server.middleware.keys import read_keys
from reelsense.server.middleware.logging import log_settings
from reelsense.server.model_source import as_setting, model_folders
from reelsense.server.process.address import (
    bind_address,
    check_free,
    check_host,
    client_address,
)
from reelsense.server.process.worker import ServingWorker, Supervisor
from reelsense.server.settings import Settings
from reelsense.server.shadow import shadow_folder

_AFTER_DEADLINE = 5  # seconds between the deadline of the last request and the end of the process

_MEMORY = "/dev/shm"  # noqa: S108  # nosec B108  # a new folder is created in it

# Space for the metrics files that the workers share. They are memory-mapped: a worker that finds no
# space is killed.
_METRICS_BYTES = 16 * 1024 * 1024


def run(settings: Settings) -> None:
    """Serve until stopped by a signal. Raises ReelsenseError if the server cannot start."""
    settings = prepared(settings)
    manifests = {
        name: read_bundle(folder).manifest for name, folder in model_folders(settings).items()
    }
    with _scratch_folder(shared_metrics=settings.workers > 1) as scratch:
        _Server(settings, manifests, scratch).run()


def prepared(settings: Settings) -> Settings:
    """Return `settings`, completed with the values that all processes must share.

    Raises ReelsenseError if the settings, the database or the address cannot be used.
    """
    _check(settings)
    if settings.database and settings.uses_database:
        from reelsense.jobs.database import Database

        Database(settings.database).close()  # raises StoreError if it cannot be used
    check_free(settings)
    shared: dict[str, Any] = {"model": as_setting(model_folders(settings)), "models": None}
    if shadow := shadow_folder(settings):
        shared["shadow"] = str(shadow.absolute())
    if settings.secret is None:
        shared["secret"] = SecretStr(secrets.token_urlsafe(32))
    return settings.model_copy(update=shared)


def check_start(settings: Settings) -> None:
    """Raise ReelsenseError if a server with `settings` could not start.

    Has no side effects and ignores whether the port is in use: the server itself may be running.
    """
    _check(settings)
    for folder in model_folders(settings).values():
        read_bundle(folder)


def _check(settings: Settings) -> None:
    check_host(settings)
    check_access(settings)
    if settings.otlp_endpoint:
        tracing.check_extra()
    shadow_folder(settings)
    if settings.database and settings.uses_database:
        from reelsense.jobs.engine import parse_url  # slow to import

        parse_url(settings.database)


def announce(settings: Settings, manifests: Iterable[Manifest], port: int) -> None:
    """Print the models and the address to standard output."""
    models = ", ".join(f"{manifest.name} {manifest.version}" for manifest in manifests)
    with suppress(OSError):  # such as a full disk: serve nevertheless
        print(
            f"reelsense serves {models} on "
            f"{client_address(settings, port)} (process {os.getpid()}; Ctrl-C stops it)",
            flush=True,
        )


@contextmanager
def _scratch_folder(*, shared_metrics: bool) -> Iterator[str]:
    """Yield a folder for the workers' heartbeats and, with `shared_metrics`, for their metrics.

    It is in memory if possible, so that a full disk does not stop the server.
    """
    try:
        in_memory = os.access(_MEMORY, os.W_OK) and (
            not shared_metrics or shutil.disk_usage(_MEMORY).free >= _METRICS_BYTES
        )
        path = tempfile.mkdtemp(prefix="reelsense-", dir=_MEMORY if in_memory else None)
    except OSError as error:
        raise SettingsError(
            "cannot create a temporary folder: set TMPDIR to a writable folder",
            code="no-temporary-folder",
        ) from error
    os.environ.pop(metrics.FOLDER, None)  # may be set for another program
    if shared_metrics:
        os.environ[metrics.FOLDER] = path
    owner = os.getpid()
    try:
        yield path
    finally:
        if os.getpid() == owner:  # a forked worker exits through here too
            shutil.rmtree(path, ignore_errors=True)


class _Server(BaseApplication):  # type: ignore[misc]  # gunicorn ships no types
    def __init__(self, settings: Settings, manifests: Mapping[str, Manifest], scratch: str) -> None:
        self._settings, self._manifests, self._scratch = settings, manifests, scratch
        self._keys = read_keys(settings)
        super().__init__()

    def load_config(self) -> None:
        settings = self._settings
        options = {
            "bind": bind_address(settings),
            "umask": _umask(),  # of a Unix domain socket
            "workers": settings.workers,
            "worker_class": ServingWorker,
            "worker_tmp_dir": self._scratch,
            "graceful_timeout": int(settings.deadline) + _AFTER_DEADLINE,
            "logconfig_dict": log_settings(settings),
            "proc_name": "reelsense",
            "when_ready": self._announce,
            "child_exit": _remove_metrics,
            # It would be in the home folder, shared by all servers of the user.
            "control_socket_disable": True,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        # The labels for workers that start later: all workers must serve the same ones.
        labels = {name: manifest.labels for name, manifest in self._manifests.items()}
        return create_app(self._settings, known_keys=self._keys, labels=labels)

    def read_keys(self) -> None:
        """Reload the keys, for workers that start later and may not have access to the file."""
        with suppress(SettingsError):  # the workers log it
            self._keys = read_keys(self._settings)

    def run(self) -> None:
        Supervisor(self).run()

    def _announce(self, supervisor: Any) -> None:
        settings = self._settings
        port = 0 if settings.socket_path else supervisor.LISTENERS[0].sock.getsockname()[1]
        announce(settings, self._manifests.values(), port)


def _umask() -> int:
    """Return the umask of this process, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _remove_metrics(_supervisor: Any, worker: Any) -> None:
    """Remove the metrics of a worker that has exited from the shared ones."""
    if folder := os.environ.get(metrics.FOLDER):
        from prometheus_client.multiprocess import mark_process_dead

        mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]
        remove_files(Path(folder), worker.pid)
