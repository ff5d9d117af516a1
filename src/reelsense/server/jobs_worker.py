"""The thread that scores the files of jobs, one after the other, when nothing else waits.

It works on what the database has, so it goes on after a restart, and beside other processes. Knows
jobs and the model; knows no HTTP.
"""

from __future__ import annotations

import logging
import math
import os
import secrets
import socket
import threading
import time

from reelsense.bulk.rows import added_columns, answer_rows
from reelsense.errors import AbandonedError, LostJobError, NotReadyError, StoreError
from reelsense.inference.call_context import CallContext
from reelsense.jobs.database import Database, default_url
from reelsense.jobs.job import CANCELLED, DONE, FAILED, Job
from reelsense.jobs.repository import Jobs
from reelsense.prediction import Prediction
from reelsense.server.middleware.metrics import ServerMetrics
from reelsense.server.model_holder import ModelHolder
from reelsense.server.model_source import ClassifierProtocol

_log = logging.getLogger(__name__)

_STEP = 64
"""Rows that are scored before they are kept: a second of two cores, which a crash may cost."""

_LEASE = 30.0
"""Seconds after which others may take over from a process that has died."""

_STEPS = 32
"""After so many a job gives way to others: a small file need not wait for a large one."""

_LOOK_EVERY = 1.0
"""Seconds between two looks for jobs that other processes received or gave back."""

_SWEEP_EVERY = 60.0
_AFTER_ERROR = 10.0


class JobsWorker:
    """The jobs of a server, and the threads that work on them once it is started."""

    def __init__(self, served: ModelHolder, metrics: ServerMetrics) -> None:
        """Open nothing yet: a server that is asked for no jobs needs no database."""
        self._served, self._metrics = served, metrics
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._jobs: Jobs | None = None
        self._opening = threading.Lock()
        self.receiving = threading.Lock()
        """Held while a file is taken in: one at a time."""
        self._wake, self._closing = threading.Event(), threading.Event()
        self._threads = [
            threading.Thread(target=work, name=name, daemon=True)
            for name, work in (("jobs", self._work), ("leases", self._renew))
        ]
        self._held: Job | None = None
        """What is being worked on."""
        self._lost = False
        """Whether it is no longer this one's."""
        self._swept = -math.inf

    @property
    def jobs(self) -> Jobs:
        """The jobs, from a database that is opened the first time. Raises StoreError."""
        with self._opening:
            if self._jobs is None:
                settings = self._served.settings
                database = Database(settings.database or default_url())
                self._jobs = Jobs(database, settings.job_retention_hours * 3600)
            return self._jobs

    def start(self) -> None:
        """Begin to work on what there is."""
        if self._served.settings.max_jobs:
            for thread in self._threads:
                thread.start()

    def wake(self) -> None:
        """Look for jobs at once."""
        self._wake.set()

    def sweep_soon(self) -> None:
        """Delete at once what was marked as deleted."""
        self._swept = -math.inf
        self._wake.set()

    def cancel(self, name: str) -> Job:
        """End the job `name` before its end, and return it. Raises NoJobError, StoreError."""
        if self.jobs.cancel(name):
            self._metrics.job_ended(CANCELLED)
        return self.jobs.job(name)

    def close(self, seconds: float = 10) -> None:
        """Give back what is in hand, and end."""
        self._closing.set()
        self._wake.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(seconds)
        if self._jobs:
            self._jobs.close()

    def _work(self) -> None:
        pause, said = 0.0, ""
        while True:
            self._wake.wait(pause)
            self._wake.clear()
            if self._closing.is_set():
                return
            try:
                self._sweep()
                pause, said = (0.0 if self._turn() else _LOOK_EVERY), ""
            except Exception as error:  # noqa: BLE001  # whatever it is, the next job is to be done
                if str(error) != said:
                    known = isinstance(error, StoreError)
                    _log.error("jobs stand still: %s", error, exc_info=not known)
                pause, said = _AFTER_ERROR, str(error)

    def _renew(self) -> None:
        """Keep the lease of the job in hand, however long a step of it takes."""
        while not self._closing.wait(_LEASE / 3):
            job = self._held
            try:
                if job:
                    self.jobs.renew(job, _LEASE)
            except LostJobError:
                self._lost = job is self._held
            except StoreError as error:
                _log.warning("job %s keeps its lease for now alone: %s", _short(job), error)

    def _sweep(self) -> None:
        if (now := time.monotonic()) > self._swept + _SWEEP_EVERY:
            self._swept = now
            if gone := self.jobs.sweep():
                _log.info("%d jobs and their texts are deleted", gone)

    def _turn(self) -> bool:
        """Work on a job for a while, or until its end; say whether there was one."""
        try:
            classifier = self._served.classifier()
        except NotReadyError:
            return False
        job = self.jobs.claim(self._owner, classifier.manifest.name, _LEASE)
        if job is None:
            return False
        _log.debug("job %s: %d rows, %d of them done", _short(job), job.rows, job.done)
        self._held, self._lost = job, False
        try:
            self._work_on(job, classifier)
        except (LostJobError, AbandonedError) as error:
            _log.info("job %s is left: %s", _short(job), error)
            self.jobs.release(job)
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001  # what it is, its page tells
            _log.error("job %s failed", _short(job), exc_info=error)
            self.jobs.fail(job, str(error) or type(error).__name__)
            self._metrics.job_ended(FAILED)
        finally:
            self._held = None
        return True

    def _work_on(self, job: Job, classifier: ClassifierProtocol) -> None:
        """Score the next rows of `job`, some steps of them; give it back, or end it."""
        manifest = classifier.manifest
        job = self.jobs.begin(job, manifest.version, added_columns(manifest))
        for _ in range(_STEPS):
            job = self._step(job, classifier)
            self._sweep()
            if not job.is_open:
                _log.info("job %s is done: %d rows, %.0f s", _short(job), job.rows, job.worked)
                self._metrics.job_ended(DONE)
                return
            if self._served.classifier() is not classifier:  # the next turn begins anew
                break
        self.jobs.release(job)

    def _step(self, job: Job, classifier: ClassifierProtocol) -> Job:
        rows = self.jobs.next_rows(job, _STEP)
        context = CallContext(
            is_cancelled=lambda: self._lost or self._closing.is_set(), background=True
        )
        answers = answer_rows(
            lambda texts: classifier.predict_each(texts, risk=job.risk, context=context),
            rows,
            job.column,
        )
        job = self.jobs.record(job, rows, answers, context.elapsed)
        self._metrics.job_rows(sum(isinstance(each, Prediction) for each in answers), len(rows))
        return job


def _short(job: Job | None) -> str:
    """What the log calls `job`: its whole id would let whoever reads the log read the job."""
    return job.id[:6] if job else "-"
