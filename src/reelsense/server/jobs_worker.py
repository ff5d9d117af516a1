"""Background threads that score jobs, one at a time, while no other requests are waiting.

All state is in the database, which several processes may share. Does not know HTTP.
"""

from __future__ import annotations

import logging
import math
import os
import secrets
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

from reelsense.bulk.rows import answer_rows
from reelsense.bundle import Manifest
from reelsense.errors import (
    AbandonedError,
    LostJobError,
    ModelGoneError,
    NotReadyError,
    ReelsenseError,
    StoreError,
    TextError,
)
from reelsense.inference.aspects import has_aspects
from reelsense.inference.call_context import CallContext
from reelsense.jobs.database import Database
from reelsense.jobs.engine import default_url
from reelsense.jobs.job import CANCELLED, DONE, FAILED, Job, ModelId
from reelsense.jobs.repository import JobRepository
from reelsense.prediction import Prediction
from reelsense.server.middleware.metrics import ServerMetrics
from reelsense.server.model_holder import ModelHolder
from reelsense.server.model_source import ClassifierProtocol
from reelsense.server.settings import Settings
from reelsense.summary.aspects import find_mentions, sample_step
from reelsense.tables.row import row_text

_log = logging.getLogger(__name__)

# Rows scored between two commits: about one second of work on two cores, lost in a crash.
_BATCH_ROWS = 64

# Batches after which another job gets its turn, so that small files do not wait for large ones.
_BATCHES_PER_TURN = 32

# Seconds after which another process may take over the job of a process that died.
_LEASE = 30.0

# Seconds that a job waits for a server with its model before it restarts or fails.
_GIVE_UP_AFTER = 300.0

# Seconds between two checks for jobs that other processes received or released.
_POLL_EVERY = 1.0

_SWEEP_EVERY = 60.0
_RETRY_AFTER_ERROR = 10.0


class JobsWorker:
    """The jobs of a server and the threads that score them. Opens the database on first use.

    A job is scored by the model that it has begun with. If that model is replaced, it stays in
    memory as long as jobs need it.
    """

    keeps_replaced_models = True  # False on a cluster, which deletes the replicas of such models

    def __init__(
        self, settings: Settings, model_holder: ModelHolder, metrics: ServerMetrics
    ) -> None:
        self._settings, self._model_holder, self._metrics = settings, model_holder, metrics
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._jobs: JobRepository | None = None
        self._opening = threading.Lock()
        self.receiving = threading.Lock()  # held during an upload: one at a time
        self._wake, self._closing = threading.Event(), threading.Event()
        self._threads = [
            threading.Thread(target=target, name=name, daemon=True)
            for name, target in (("jobs", self._run), ("leases", self._renew_leases))
        ]
        self._current_model: ClassifierProtocol | None = None
        self._models: dict[ModelId, ClassifierProtocol] = {}  # also the replaced ones that are kept
        self._current_job: Job | None = None
        self._lease_lost = False  # whether another process has taken over the current job
        self._last_sweep = -math.inf
        self._started = 0.0

    @property
    def jobs(self) -> JobRepository:
        """The job repository. Raises StoreError if the database cannot be opened."""
        with self._opening:
            if self._jobs is None:
                database = Database(self._settings.database or default_url())
                self._jobs = JobRepository(database, self._settings.job_retention_hours * 3600)
            return self._jobs

    def start(self) -> None:
        """Start the threads, unless jobs are disabled."""
        self._started = time.monotonic()
        if self._settings.max_jobs:
            for thread in self._threads:
                thread.start()

    def wake(self) -> None:
        """Check for new jobs immediately."""
        self._wake.set()

    def sweep_soon(self) -> None:
        """Erase deleted jobs immediately."""
        self._last_sweep = -math.inf
        self._wake.set()

    def cancel(self, job_id: str) -> Job:
        """Cancel a job and return it. Raises NoJobError, StoreError."""
        if self.jobs.cancel(job_id):
            self._metrics.record_job_end(CANCELLED)
        return self.jobs.job(job_id)

    def close(self, seconds: float = 10) -> None:
        """Release the current job and stop the threads; wait at most `seconds` for each."""
        self._closing.set()
        self._wake.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(seconds)
        if self._jobs:
            with suppress(StoreError):
                self._jobs.withdraw(self._owner)
            self._jobs.close()

    def _run(self) -> None:
        pause, last_error = 0.0, ""
        while True:
            self._wake.wait(pause)
            self._wake.clear()
            if self._closing.is_set():
                return
            try:
                self._sweep()
                pause, last_error = (0.0 if self._take_turn() else _POLL_EVERY), ""
            except Exception as error:  # noqa: BLE001  # the thread must survive any error
                if str(error) != last_error:
                    _log.error(
                        "jobs are paused: %s; retrying every %g s",
                        error,
                        _RETRY_AFTER_ERROR,
                        exc_info=not isinstance(error, StoreError),
                    )
                pause, last_error = _RETRY_AFTER_ERROR, str(error)

    def _renew_leases(self) -> None:
        """Renew the lease of the current job and the offered models, however long a batch takes."""
        while not self._closing.wait(_LEASE / 3):
            job = self._current_job
            try:
                if job:
                    self.jobs.renew(job, _LEASE)
                if self._models:
                    self.jobs.offer(self._owner, self._models)
            except LostJobError:
                self._lease_lost = job is self._current_job
            except StoreError as error:
                if job:
                    _log.warning("job %s: the lease was not renewed: %s", _short_id(job), error)

    def _sweep(self) -> None:
        if (now := time.monotonic()) > self._last_sweep + _SWEEP_EVERY:
            self._last_sweep = now
            if count := self.jobs.sweep():
                _log.info("deleted %d jobs and their texts", count)

    def _take_turn(self) -> bool:
        """Work on a job for one turn. Return False if there is nothing to do."""
        try:
            current = self._model_holder.classifier()
        except NotReadyError:
            return False
        self._update_models(current)
        self._end_waiting(current.manifest)
        job = self.jobs.claim(self._owner, self._models, _LEASE)
        if job is None:
            return False
        classifier = next(
            classifier
            for model, classifier in self._models.items()
            if model.name == job.model and job.version in (None, model.version)
        )
        _log.debug("job %s: %d of %d rows done", _short_id(job), job.done, job.rows)
        self._current_job, self._lease_lost = job, False
        try:
            self._score_batches(job, classifier)
        except (LostJobError, AbandonedError) as error:
            _log.info("job %s interrupted: %s", _short_id(job), error)
            self.jobs.release(job)
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001  # any other error is a failure of the job
            _log.error("job %s failed", _short_id(job), exc_info=error)
            self._fail(job, error)
        finally:
            self._current_job = None
        return True

    def _fail(self, job: Job, error: Exception) -> None:
        code = error.code if isinstance(error, ReelsenseError) else "internal-error"
        self.jobs.fail(job, str(error) or type(error).__name__, code)
        self._metrics.record_job_end(FAILED)

    def _update_models(self, classifier: ClassifierProtocol) -> None:
        """Offer the current model `classifier`, and replaced ones as long as jobs need them."""
        current = ModelId(classifier.manifest.name, classifier.manifest.version)
        models = {current: classifier}
        for model, replaced in self._models.items():
            if model == current:
                continue
            is_needed = self.keeps_replaced_models and self.jobs.needs(model, current.name)
            if is_needed:
                models[model] = replaced
            if replaced is self._current_model and is_needed:
                _log.info("keeping model %s in memory until its jobs have ended", model)
            elif replaced is not self._current_model and not is_needed:
                _log.info("released model %s: its jobs have ended", model)
        if models.keys() != self._models.keys():
            self.jobs.offer(self._owner, models)
        self._current_model, self._models = classifier, models

    def _end_waiting(self, manifest: Manifest) -> None:
        """Restart or fail jobs whose model has not been offered for `_GIVE_UP_AFTER` seconds.

        `manifest` is that of the current model.
        """
        if time.monotonic() < self._started + _GIVE_UP_AFTER:
            return  # other servers may be starting at the same time
        while job := self.jobs.claim_orphan(self._owner, self._models, _GIVE_UP_AFTER, _LEASE):
            with suppress(LostJobError):
                if job.model == manifest.name and job.labels in ((), manifest.labels):
                    self.jobs.begin(job, manifest)
                    self.jobs.release(job)
                    _log.info(
                        "job %s starts again with version %s: no server has version %s any more",
                        *(_short_id(job), manifest.version, job.version),
                    )
                else:
                    error = _model_gone(job, manifest)
                    _log.error("job %s failed: %s", _short_id(job), error)
                    self._fail(job, error)

    def _score_batches(self, job: Job, classifier: ClassifierProtocol) -> None:
        """Score the next batches of `job`, then end or release it."""
        job = self.jobs.begin(job, classifier.manifest)
        for _ in range(_BATCHES_PER_TURN):
            job = self._score_batch(job, classifier)
            self._sweep()
            if not job.is_open:
                _log.info("job %s done: %d rows, %.0f s", _short_id(job), job.rows, job.worked)
                self._metrics.record_job_end(DONE)
                return
            if self._model_holder.classifier() is not self._current_model:  # it was replaced
                break
        self.jobs.release(job)

    def _score_batch(self, job: Job, classifier: ClassifierProtocol) -> Job:
        rows = self.jobs.next_rows(job, _BATCH_ROWS)
        context = CallContext(
            is_cancelled=lambda: self._lease_lost or self._closing.is_set(), background=True
        )

        def predict(texts: Sequence[str]) -> Sequence[Prediction | TextError]:
            return classifier.predict_each(texts, risk=job.risk, context=context)

        answers = answer_rows(predict, rows, job.column)
        mentions = []
        if has_aspects(job.labels):
            step = sample_step(job.rows)
            texts = {
                n: row_text(row, job.column)
                for n, (row, answer) in enumerate(zip(rows, answers, strict=True), job.done)
                if n % step == 0 and isinstance(answer, Prediction)
            }
            mentions = find_mentions(predict, texts, context)
        job = self.jobs.record(job, rows, answers, context.elapsed, mentions)
        scored = sum(isinstance(answer, Prediction) for answer in answers)
        self._metrics.record_job_rows(scored, len(rows))
        return job


def _model_gone(job: Job, manifest: Manifest) -> ModelGoneError:
    labels = f" with the labels {', '.join(job.labels)}" if job.labels else ""
    return ModelGoneError(
        f"no server has the model {job.needed_model}{labels} any more; this one has "
        f"{manifest.name} {manifest.version} with the labels {', '.join(manifest.labels)}: upload "
        "the file again to score it with that model"
    )


def _short_id(job: Job | None) -> str:
    """Return a prefix of the id for the log: the complete id would grant access to the job."""
    return job.id[:6] if job else "-"
