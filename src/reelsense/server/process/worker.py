"""The process that serves: started, watched and replaced by gunicorn, one or several of a kind."""

from __future__ import annotations

import logging
import os
import resource
import shutil
import signal
import time
from contextlib import suppress
from types import FrameType
from typing import TYPE_CHECKING

from gunicorn.arbiter import Arbiter
from gunicorn.workers.base import Worker

from reelsense.server.middleware import problems
from reelsense.server.model_holder import ModelHolder
from reelsense.server.process.listener import Connections
from reelsense.server.state import state_of

if TYPE_CHECKING:
    pass

_log = logging.getLogger(__name__)

_FILES = 100
"""That a process has open beside its connections."""


class Supervisor(Arbiter):  # type: ignore[misc]  # gunicorn ships no types
    """Starts the workers, replaces one that dies, and passes on what it is told by signals.

    TERM, and INT as Ctrl-C sends it: end once everything accepted is answered; INT again, or QUIT:
    end now. HUP: load the model anew. Others do nothing.
    """

    _spawned = 0.0

    def spawn_worker(self) -> int:
        """Start a worker; where they die as they start, one a second."""
        if self.worker_age >= self.num_workers:
            time.sleep(max(0.0, self._spawned + 1 - time.monotonic()))
        self._spawned = time.monotonic()
        pid: int = super().spawn_worker()
        return pid

    def handle_int(self) -> None:
        """End as for TERM."""
        raise StopIteration

    def handle_hup(self) -> None:
        """Let the workers load the model anew."""
        self.app.read_keys()
        self.kill_workers(signal.SIGHUP)

    def _ignore(self) -> None:
        _log.warning("this signal does nothing here")

    handle_ttin = handle_ttou = handle_usr1 = handle_usr2 = handle_winch = _ignore


class ServingWorker(Worker):  # type: ignore[misc]
    """One loop of connections, many threads."""

    _connections: Connections | None = None
    _reload = False
    """Whether HUP has come. Nothing is done in its handler, which may be in its own way."""

    def init_process(self) -> None:
        """Begin. One that takes the place of another and fails does not end the whole server."""
        self.booted = self.age > self.cfg.workers
        super().init_process()

    def init_signals(self) -> None:
        """Say what each signal means."""
        super().init_signals()
        # Ctrl-C reaches every process of the terminal; the supervisor says what it means.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, self._handle_hup)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end."""
        super().handle_exit(sig, frame)
        if self._connections:
            self._connections.wake()

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  # as called
        """End now. An ordinary exit would wait for all that the network has yet to read."""
        os._exit(0)

    def _handle_hup(self, _sig: int, _frame: FrameType | None) -> None:
        self._reload = True
        if self._connections:
            self._connections.wake()

    def run(self) -> None:
        """Serve until told to end, and until what was accepted by then is answered."""
        served = state_of(self.wsgi).model_holder
        connections = self._connections = Connections(
            self.wsgi,
            [each.sock for each in self.sockets],
            served.settings,
            lambda status: problems.malformed_request_response(self.wsgi, status),
            _possible_connections(served.settings.max_connections),
        )
        state_of(self.wsgi).jobs_worker.start()
        served.reload_everywhere = lambda: os.kill(self.ppid, signal.SIGHUP)
        told = 0.0
        while self.alive and self.ppid == os.getppid():
            if (now := time.monotonic()) - told > 1:
                self.notify()
                told = now
            if self._reload:
                self._reload = False
                served.reload()
            connections.turn(1)
        self._end(served, connections)

    def _end(self, served: ModelHolder, connections: Connections) -> None:
        """Answer what was accepted, in a time that ends before the supervisor's does."""
        served.draining = True
        _log.info("ending: what was accepted is being answered; Ctrl-C again or QUIT ends now")
        last = time.monotonic() + self.cfg.graceful_timeout - 1
        connections.drain(self.cfg.graceful_timeout - 2, self.notify)
        if cut := connections.count:
            _log.warning("%d connections are cut off: their time is up", cut)
        state_of(self.wsgi).jobs_worker.close(max(0.0, last - time.monotonic()))
        served.close(max(0.0, last - time.monotonic()))
        if self.ppid != os.getppid():  # nobody else is left who could
            shutil.rmtree(self.cfg.worker_tmp_dir, ignore_errors=True)


def _possible_connections(wanted: int) -> int:
    """Allow the process to open files for so many; return for how many it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = 2 * wanted + _FILES  # an answer may be a file too
    if soft < count:
        soft = count if hard == resource.RLIM_INFINITY else min(count, hard)
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    possible = max(8, (soft - _FILES) // 2)
    if possible < wanted:
        _log.warning(
            "there can be %d connections, not %d: the limit of open files is %d",
            possible,
            wanted,
            soft,
        )
    return possible
