"""Start the server: gunicorn, and under it one process with threads, or several such.

A process owns its queue and its engine, and the engine its share of the processor's cores; on a
machine with few cores more processes would only take them from each other.
"""

from __future__ import annotations

import errno
import os
import secrets
import shlex
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication
from pydantic import SecretStr

from reelsense import registry
from reelsense.bundle import Manifest, read_bundle
from reelsense.errors import ReelsenseError, SettingsError
from reelsense.server.app import create_app
from reelsense.server.middleware import metrics
from reelsense.server.middleware.authenticator import Authenticator, check_access
from reelsense.server.middleware.logging import log_settings
from reelsense.server.process.worker import ServingWorker, Supervisor
from reelsense.server.settings import Settings, variable

_AFTER_DEADLINE = 5
"""Seconds from the deadline of the last request to the end of the process."""

_MEMORY = "/dev/shm"  # noqa: S108  # nosec B108  # a folder of our own is made in it

_COUNTS = 16 * 1024 * 1024
"""Bytes that processes may take for what they count together. They map these files: a process that
finds no room there is killed."""


def run(settings: Settings) -> None:
    """Serve until told to stop.

    Raises as `prepared`, and BundleError if the bundle cannot be loaded and ReelsenseError if there
    is no room for files.
    """
    settings = prepared(settings)
    manifest = read_bundle(_folder(settings)).manifest
    with _scratch_folder(counts=settings.workers > 1) as scratch:
        _Server(settings, manifest, scratch).run()


def prepared(settings: Settings) -> Settings:
    """Return `settings` as all processes of a server share them.

    Raises SettingsError if others could reach it without keys, StoreError if the database that is
    named cannot be used and ReelsenseError if the address is taken or none.
    """
    _check_unchanging(settings)
    if settings.database and settings.max_jobs:
        from reelsense.jobs.database import Database

        Database(settings.database).close()
    _check_free(settings.host, settings.port)
    # Not resolved: a link that is turned to another bundle is followed.
    changed: dict[str, Any] = {"model": str(_folder(settings).absolute())}
    if settings.secret is None:
        changed["secret"] = SecretStr(secrets.token_urlsafe(32))
    return settings.model_copy(update=changed)


def check_start(settings: Settings) -> None:
    """Raise ReelsenseError if a server with `settings` could not start.

    As far as that can be told without changing anything, whether or not such a server runs.
    """
    _check_unchanging(settings)
    read_bundle(_folder(settings))


def _folder(settings: Settings) -> Path:
    return registry.find(settings.model or None)


def _check_unchanging(settings: Settings) -> None:
    _resolved(settings.host, settings.port)
    try:
        check_access(settings)
    except SettingsError as error:
        if settings.keys_file and isinstance(error.__cause__, FileNotFoundError):
            file = shlex.quote(settings.keys_file)
            raise SettingsError(
                f"{error}; `reelsense key NAME --keys-file {file}` makes it"
            ) from error
        raise
    if settings.database and settings.max_jobs:
        from reelsense.jobs.database import check_url  # others need not wait for its import

        check_url(settings.database)


def announce(settings: Settings, manifest: Manifest, port: int) -> None:
    """Say on standard output what serves where."""
    with suppress(OSError):  # a full disk behind it is no reason not to serve
        print(
            f"reelsense serves {manifest.name} {manifest.version} on "
            f"http://{in_address(settings.host)}:{port} (process {os.getpid()}; Ctrl-C stops it)",
            flush=True,
        )


def in_address(host: str) -> str:
    """Return `host` as it stands in front of a port."""
    return f"[{host}]" if ":" in host else host


def _check_free(host: str, port: int) -> None:
    """Say at once what gunicorn would try for five seconds and then say in five lines."""
    family, kind, _, _, address = _resolved(host, port)
    try:
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        hint = (
            f"; choose another with --port or {variable('port')}"
            if error.errno == errno.EADDRINUSE
            else ""
        )
        raise ReelsenseError(
            f"cannot listen on {host}, port {port}: {error.strerror}{hint}"
        ) from error


def _resolved(host: str, port: int) -> tuple[Any, ...]:
    """Return what the system makes of the address. Raises ReelsenseError if that is nothing."""
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except UnicodeError as error:
        raise ReelsenseError(f"cannot listen on {host}: that is no name of a host") from error
    except socket.gaierror as error:
        raise ReelsenseError(
            f"cannot listen on {host}: there is no such host ({error.strerror})"
        ) from error


@contextmanager
def _scratch_folder(*, counts: bool) -> Iterator[str]:
    """Make a folder for the heartbeats of the workers and, with `counts`, for what they count.

    In memory where that can be: a full disk then stops nothing.
    """
    try:
        in_memory = os.access(_MEMORY, os.W_OK) and (
            not counts or shutil.disk_usage(_MEMORY).free >= _COUNTS
        )
        path = tempfile.mkdtemp(prefix="reelsense-", dir=_MEMORY if in_memory else None)
    except OSError as error:
        raise SettingsError(
            "there is no folder for temporary files that can be written: set TMPDIR to one"
        ) from error
    os.environ.pop(metrics.FOLDER, None)  # another program's
    if counts:
        os.environ[metrics.FOLDER] = path
    owner = os.getpid()
    try:
        yield path
    finally:
        if os.getpid() == owner:  # a worker leaves through here too
            shutil.rmtree(path, ignore_errors=True)


class _Server(BaseApplication):  # type: ignore[misc]  # gunicorn ships no types
    def __init__(self, settings: Settings, manifest: Manifest, scratch: str) -> None:
        self._settings, self._manifest, self._scratch = settings, manifest, scratch
        self._guard = Authenticator(settings)
        super().__init__()

    def load_config(self) -> None:
        given = self._settings
        settings = {
            "bind": f"{in_address(given.host)}:{given.port}",
            "workers": given.workers,
            "worker_class": ServingWorker,
            "worker_tmp_dir": self._scratch,
            "graceful_timeout": int(given.deadline) + _AFTER_DEADLINE,
            "logconfig_dict": log_settings(given),
            "proc_name": "reelsense",
            "when_ready": self._announce,
            "child_exit": _forget,
            # It would lie in the user's home, and two servers would fight for it.
            "control_socket_disable": True,
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        return create_app(self._settings, known_keys=self._guard.keys)

    def read_keys(self) -> None:
        """Read the keys anew, for workers that are started later: they may not be able to."""
        self._guard.reload(log=False)  # the workers do

    def run(self) -> None:
        Supervisor(self).run()

    def _announce(self, supervisor: Any) -> None:
        port = supervisor.LISTENERS[0].sock.getsockname()[1]
        announce(self._settings, self._manifest, port)


def _forget(_supervisor: Any, worker: Any) -> None:
    """Take a process that has ended out of what all of them count together."""
    if os.environ.get(metrics.FOLDER):
        from prometheus_client.multiprocess import mark_process_dead

        mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]
