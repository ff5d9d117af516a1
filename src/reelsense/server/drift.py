"""The current texts of the server, and how they differ from the reference profile of its model.

Requests only put texts into a short queue. A thread measures them, at a limited rate, and writes a
row for each into a ring buffer. Several workers share their buffers through files, and each of them
reports on the latest texts of all. Texts are not stored. Those of jobs are not counted: one file
would replace all others.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from reelsense.bundle import Manifest
from reelsense.drift.profile import ROW, Rows, parse, prediction_rows
from reelsense.drift.report import DriftReport, compare
from reelsense.errors import BundleError
from reelsense.prediction import Prediction
from reelsense.server.model_source import ClassifierProtocol
from reelsense.text.language import MAX_CHARACTERS

_log = logging.getLogger(__name__)

WINDOW = 500
"""The latest texts, which are compared."""

_MAX_QUEUED = 1000  # texts; more are not counted
_PAUSE = 0.005  # seconds after each text, so that measuring takes a tenth of a core at most
_MAX_AGE = 1.0  # seconds for which a report is kept

_FILE = "drift-{version}-{process}"


class DriftMonitor:
    """Compares the latest texts with the reference profile of the current model. Thread-safe.

    Args:
        folder: Folder that all workers share; None: only one worker.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._window: _Window | None = None
        self._queue: queue.Queue[tuple[str, str, Prediction]] = queue.Queue(_MAX_QUEUED)
        self._lock = threading.Lock()  # of the thread and the last report
        self._thread: threading.Thread | None = None
        self._last: tuple[float, DriftReport] | None = None

    def use(self, classifier: ClassifierProtocol) -> None:
        """Observe the texts of a new model, from now on."""
        reference = None
        if classifier.profile is not None:
            try:
                reference = parse(classifier.profile, classifier.labels)
            except BundleError as error:  # the model works without it
                _log.warning("%s", error)
        with self._lock:
            if self._window:
                self._window.remove()
            self._window = _Window(classifier.manifest, reference, self._folder)
            self._last = None

    def offer(self, manifest: Manifest, texts: Sequence[str], answers: Sequence[object]) -> None:
        """Queue `texts` with the predictions among their `answers`. Never waits."""
        if not (self._window and self._window.reference is not None):
            return
        with suppress(queue.Full):
            for text, answer in zip(texts, answers, strict=True):
                if isinstance(answer, Prediction) and answer.features:
                    self._queue.put_nowait((manifest.version, text[:MAX_CHARACTERS], answer))
        if self._thread:  # without the lock, which a report holds while it is computed
            return
        with self._lock:
            if not self._thread:
                self._thread = threading.Thread(target=self._run, name="drift", daemon=True)
                self._thread.start()

    def report(self) -> DriftReport | None:
        """Return the comparison of the latest texts of all workers; None: no model is loaded."""
        with self._lock:
            if self._last and time.monotonic() < self._last[0] + _MAX_AGE:
                return self._last[1]
            if not self._window:
                return None
            window = self._window
            report = compare(window.manifest, window.reference, window.rows())
            self._last = time.monotonic(), report
            return report

    def _run(self) -> None:
        while True:
            version, text, prediction = self._queue.get()
            window = self._window
            if window and window.manifest.version == version:
                try:
                    window.add(prediction_rows(window.manifest, [text], [prediction]))
                except Exception:  # noqa: BLE001  # the thread continues with the next text
                    _log.exception("a text was not measured for drift")
            time.sleep(_PAUSE)


class _Window:
    """The latest texts of this worker, and those of the others that serve the same model."""

    def __init__(self, manifest: Manifest, reference: Rows | None, folder: Path | None) -> None:
        self.manifest, self.reference = manifest, reference
        self._count = 0
        self._path: Path | None = None
        self._rows: Rows
        if folder and reference is not None:
            name = _FILE.format(version=manifest.version, process=os.getpid())
            self._path = folder / name
            self._rows = np.memmap(self._path, ROW, "w+", shape=(WINDOW,))
        else:
            self._rows = np.zeros(WINDOW, ROW)

    def add(self, row: Rows) -> None:
        """Replace the oldest row by `row`, an array of one."""
        row["time"] = time.time()
        self._rows[self._count % WINDOW] = row[0]
        self._count += 1

    def rows(self) -> Rows:
        """Return the latest rows of all workers, at most WINDOW."""
        parts = [self._rows]
        if self._path:
            pattern = _FILE.format(version=self.manifest.version, process="*")
            parts = [_read(path) for path in self._path.parent.glob(pattern)]
        rows = np.concatenate(parts)
        rows = rows[rows["time"] > 0]
        return rows[np.argsort(rows["time"])][-WINDOW:]

    def remove(self) -> None:
        """Delete the file of this worker."""
        if self._path:
            self._path.unlink(missing_ok=True)


def _read(path: Path) -> Rows:
    try:
        return np.fromfile(path, ROW)
    except FileNotFoundError:  # its worker just ended, or has a new model
        return np.zeros(0, ROW)


def remove_files(folder: Path, process: int) -> None:
    """Delete the files of a worker that has ended."""
    for path in folder.glob(_FILE.format(version="*", process=process)):
        path.unlink(missing_ok=True)
