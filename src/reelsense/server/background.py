"""The thread that scores the files of jobs, one after the other, when nothing else waits.

It works on what the database has, so it goes on after a restart, and beside other processes. Knows
jobs and the model; knows no HTTP.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Sequence

from reelsense.datasets.tables import Row
from reelsense.errors import (
    AbandonedError,
    DeadlineError,
    InputError,
    LostJobError,
    NotReadyError,
    StoreError,
)
from reelsense.inference.classifier import Classifier
from reelsense.inference.clock import Clock
from reelsense.inference.rows import Answer, added_columns, answer_rows
from reelsense.prediction import Prediction
from reelsense.server.metrics import Metrics
from reelsense.server.served import Served
from reelsense.store.database import Database, default_url
from reelsense.store.jobs import DONE, FAILED, Job, Jobs

_log = logging.getLogger(__name__)

_STEP = 64
"""Rows that are scored before they are kept: a second of two cores, which a crash may cost."""

_LEASE = 30.0
"""Seconds after which others may take over from a process that has died."""

_LOOK_EVERY = 1.0
"""Seconds between two looks for jobs that other processes received or gave back."""

_SWEEP_EVERY = 60.0
_AFTER_ERROR = 10.0


class Background:
    """The jobs of a server, and the thread that works on them once it is started."""

    def __init__(self, served: Served, metrics: Metrics) -> None:
        """Open nothing yet: a server that is asked for no jobs needs no database."""
        self._served, self._metrics = served, metrics
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._jobs: Jobs | None = None
        self._opening = threading.Lock()
        self.receiving = threading.Lock()
        """Held while a file is taken in: one at a time."""
        self._wake, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="jobs", daemon=True)
        self._swept = 0.0
        self._step = _STEP

    @property
    def jobs(self) -> Jobs:
        """The jobs, from a database that is opened the first time. Raises StoreError."""
        with self._opening:
            if self._jobs is None:
                settings = self._served.settings
                database = Database(settings.database or default_url())
                self._jobs = Jobs(database, settings.keep_jobs * 3600)
            return self._jobs

    def start(self) -> None:
        """Begin to work on what there is."""
        if self._served.settings.max_jobs:
            self._thread.start()

    def wake(self) -> None:
        """Look for jobs at once."""
        self._wake.set()

    def sweep_soon(self) -> None:
        """Delete at once what was marked as deleted."""
        self._swept = 0.0
        self._wake.set()

    def close(self, seconds: float = 10) -> None:
        """Give back what is in hand, and end."""
        self._closing.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(seconds)
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
            except StoreError as error:
                if str(error) != said:
                    _log.error("jobs stand still: %s", error)
                pause, said = _AFTER_ERROR, str(error)

    def _sweep(self) -> None:
        if (now := time.monotonic()) > self._swept + _SWEEP_EVERY:
            self._swept = now
            if gone := self.jobs.sweep():
                _log.info("%d jobs and their texts are deleted", gone)

    def _turn(self) -> bool:
        """Work on one job until it is done or given back; say whether there was one."""
        try:
            classifier = self._served.classifier()
        except NotReadyError:
            return False
        manifest = classifier.manifest
        job = self.jobs.claim(self._owner, manifest.name, _LEASE)
        if job is None:
            return False
        _log.info("job %s: %d rows, %d of them done", _short(job), job.rows, job.done)
        try:
            job = self.jobs.begin(job, manifest.version, added_columns(manifest))
            while job.is_open and self._served.classifier() is classifier:
                job = self._next(job, classifier)
        except LostJobError as error:
            _log.info("job %s: %s", _short(job), error)
        except AbandonedError:
            self.jobs.release(job)
        except (InputError, RuntimeError) as error:
            _log.error("job %s failed", _short(job), exc_info=error)
            self.jobs.fail(job, str(error))
            self._metrics.job_ended(FAILED)
        else:
            if job.is_open:  # another model serves now
                self.jobs.release(job)
            else:
                _log.info("job %s: done in %.0f s", _short(job), job.worked)
                self._metrics.job_ended(DONE)
        return True

    def _next(self, job: Job, classifier: Classifier) -> Job:
        """Score the next rows of `job`, fewer of them if live requests leave little time."""
        rows = self.jobs.next_rows(job, self._step)
        begun = time.monotonic()
        try:
            answers = self._answers(job, rows, classifier)
        except DeadlineError:
            self._step = max(1, self._step // 2)
            self.jobs.renew(job, _LEASE)
            return job
        self._step = min(_STEP, 2 * self._step)
        job = self.jobs.record(job, rows, answers, time.monotonic() - begun)
        self._metrics.job_rows(sum(isinstance(each, Prediction) for each in answers), len(rows))
        if job.is_open:
            self.jobs.renew(job, _LEASE)
        return job

    def _answers(self, job: Job, rows: Sequence[Row], classifier: Classifier) -> list[Answer]:
        clock = Clock(_LEASE / 2, self._closing.is_set, background=True)

        return answer_rows(
            lambda texts: classifier.predict_each(texts, risk=job.risk, clock=clock),
            rows,
            job.column,
        )


def _short(job: Job) -> str:
    """What the log calls `job`: its whole id would let whoever reads the log read the job."""
    return job.id[:6]
