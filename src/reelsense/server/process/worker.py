"""The worker processes, and the gunicorn supervisor that starts, watches and replaces them."""

from __future__ import annotations

import logging
import os
import resource
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType

from gunicorn.arbiter import Arbiter
from gunicorn.workers.base import Worker

from reelsense.server.jobs_worker import JobsWorker
from reelsense.server.model_holder import Models
from reelsense.server.process.listener import Connections
from reelsense.server.state import state_of

_log = logging.getLogger(__name__)

_OTHER_FILES = 100  # that a process may have open in addition to its connections


class Supervisor(Arbiter):  # type: ignore[misc]  # gunicorn ships no types
    """Starts the workers, replaces those that die, and handles signals.

    TERM and INT (Ctrl-C) shut down once all accepted requests are answered; a second INT, or QUIT,
    at once. HUP reloads the model and the keys. Other signals are ignored.
    """

    _last_spawn = 0.0

    def spawn_worker(self) -> int:
        """Start a worker. Replacements start at most once a second, in case they die at once."""
        if self.worker_age >= self.num_workers:
            time.sleep(max(0.0, self._last_spawn + 1 - time.monotonic()))
        self._last_spawn = time.monotonic()
        pid: int = super().spawn_worker()
        return pid

    def handle_int(self) -> None:
        raise StopIteration  # shuts down as for TERM

    def handle_hup(self) -> None:
        self.app.read_keys()
        self.kill_workers(signal.SIGHUP)

    def _ignore(self) -> None:
        _log.warning("ignoring a signal: only TERM, INT, QUIT and HUP are supported")

    def stop(self, graceful: bool = True) -> None:
        """Stop the workers and remove the socket file. gunicorn fails if that is missing."""
        names = [listener.getsockname() for listener in self.LISTENERS]
        if any(isinstance(name, str) and not Path(name).exists() for name in names):
            self.systemd = True  # gunicorn does not remove sockets of systemd
        super().stop(graceful)

    handle_ttin = handle_ttou = handle_usr1 = handle_usr2 = handle_winch = _ignore


class ServingWorker(Worker):  # type: ignore[misc]
    """A worker with an event loop for its connections and threads for the requests."""

    _connections: Connections | None = None
    # Set by the handler of HUP, which may interrupt anything and therefore does nothing else.
    _reload_requested = False

    def init_process(self) -> None:
        # gunicorn stops the server if a worker fails that has not booted. A replacement may fail.
        self.booted = self.age > self.cfg.workers
        super().init_process()

    def init_signals(self) -> None:
        super().init_signals()
        # Ctrl-C reaches every process of the terminal; the supervisor handles it for all.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, self._handle_hup)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        if self._connections:
            self._connections.wake()

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  # interface
        os._exit(0)  # a normal exit would wait for the running predictions

    def _handle_hup(self, _sig: int, _frame: FrameType | None) -> None:
        self._reload_requested = True
        if self._connections:
            self._connections.wake()

    def run(self) -> None:
        """Serve until shut down and all accepted requests are answered."""
        state = state_of(self.wsgi)
        models, jobs = state.models, state.jobs_worker
        connections = self._connections = Connections(
            self.wsgi,
            self.sockets[0].sock,
            _max_connections(state.settings.max_connections),
        )
        jobs.start()
        state.shadow.start()
        state.feedback_writer.start()
        if state.authenticator.keys:
            state.ended_sessions.start()
        models.reload_everywhere = lambda: os.kill(self.ppid, signal.SIGHUP)
        last_heartbeat = 0.0
        while self.alive and self.ppid == os.getppid():
            if (now := time.monotonic()) - last_heartbeat > 1:
                self.notify()
                last_heartbeat = now
            if self._reload_requested:
                self._reload_requested = False
                models.reload()
            connections.turn(1)
        self._shut_down(connections, models, jobs)

    def _shut_down(self, connections: Connections, models: Models, jobs: JobsWorker) -> None:
        """Answer the accepted requests, and exit before the supervisor would kill the worker."""
        models.draining = True
        _log.info(
            "stopping: finishing accepted requests; press Ctrl-C again or send QUIT to stop now"
        )
        end = time.monotonic() + self.cfg.graceful_timeout - 1
        connections.drain(self.cfg.graceful_timeout - 2, self.notify)
        if unfinished := connections.count:
            _log.warning("shutdown timeout reached: closing %d connections", unfinished)
        state_of(self.wsgi).ended_sessions.close()
        state_of(self.wsgi).shadow.close()
        state_of(self.wsgi).feedback_writer.close(max(0.0, end - time.monotonic()))
        jobs.close(max(0.0, end - time.monotonic()))
        models.close(max(0.0, end - time.monotonic()))
        if self.ppid != os.getppid():  # the supervisor, which would do it, has died
            shutil.rmtree(self.cfg.worker_tmp_dir, ignore_errors=True)


def _max_connections(connections: int) -> int:
    """Raise the limit of open files for this many connections; return how many it permits."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = 2 * connections + _OTHER_FILES  # a response may need a file too
    if soft < count:
        soft = count if hard == resource.RLIM_INFINITY else min(count, hard)
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    possible = max(8, (soft - _OTHER_FILES) // 2)
    if possible < connections:
        _log.warning(
            "accepting at most %d connections instead of %d: the limit of open files is %d "
            "(ulimit -n)",
            possible,
            connections,
            soft,
        )
    return possible
