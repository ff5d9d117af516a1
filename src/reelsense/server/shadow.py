"""Shadow mode: a second model scores a share of the live texts, outside of the request path.

It runs in its own process with the lowest priority, which shares neither the interpreter lock nor
threads of the engine with the server. Requests only put texts into a short queue. A text that does
not fit is shed, and so is every text while the server is busy.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import queue
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import random
from typing import Any

from reelsense import registry
from reelsense.bundle import Manifest, read_bundle
from reelsense.errors import BundleError
from reelsense.inference.classifier import Classifier
from reelsense.model_directory import ModelDirectory
from reelsense.prediction import Prediction
from reelsense.server.model_source import poll
from reelsense.server.settings import Settings

_log = logging.getLogger(__name__)

OUTCOMES = ("agreed", "disagreed", "shed", "failed")

_LOWEST_PRIORITY = 19
_MAX_QUEUED = 64  # texts
_MAX_LENGTH = 20_000  # characters; longer texts are shed
_EXAMPLES = 20  # disagreements that are kept
_EXAMPLE_LENGTH = 500  # characters
_POLL_INTERVAL = 1.0  # seconds between two checks whether the model changed
_TIMEOUT = 60.0  # seconds for loading the model, or for a text


def shadow_folder(settings: Settings) -> Path | None:
    """Return the folder of the model that `settings` name, which may not exist yet; None: none.

    Raises BundleError or ModelDirectoryError if it is not the name of a model.
    """
    if not settings.shadow:
        return None
    if settings.models:
        return ModelDirectory(Path(settings.models)).folder(settings.shadow)
    return registry.find(settings.shadow)


@dataclass(frozen=True, slots=True)
class _Scored:
    """A text and the prediction that was served for it."""

    text: str
    served: Prediction


class Shadow:
    """Compares the predictions that are served with those of the model in `folder`.

    Args:
        folder: A bundle, which may change, or not exist yet; None: nothing is compared.
        share: Share of the texts to score, 0 to 1.
        is_busy: Whether the server needs all cores for requests.
        on_outcome: Called with one of OUTCOMES for each text.
    """

    def __init__(
        self,
        folder: Path | None,
        share: float,
        *,
        is_busy: Callable[[], bool],
        on_outcome: Callable[[str], None],
    ) -> None:
        self._folder, self._share = folder, share
        self._is_busy, self._on_outcome = is_busy, on_outcome
        self._queue: queue.Queue[_Scored | None] = queue.Queue(_MAX_QUEUED)
        self._model = _ModelProcess()
        self._counts: Counter[str] = Counter()
        self._examples: deque[dict[str, object]] = deque(maxlen=_EXAMPLES)
        self._lock = threading.Lock()  # of counts and examples
        self._thread: threading.Thread | None = None
        self._closed = False

    def start(self) -> None:
        """Start to score texts."""
        if self._folder:
            self._thread = threading.Thread(
                target=self._run, args=[self._folder], name="shadow", daemon=True
            )
            self._thread.start()

    def close(self, seconds: float = 1) -> None:
        """Stop scoring texts. Waits up to `seconds` for the current one."""
        self._closed = True
        if self._thread:
            with suppress(queue.Full):
                self._queue.put_nowait(None)
            self._thread.join(seconds)
        self._model.stop()

    def offer(self, texts: Sequence[str], answers: Sequence[object]) -> None:
        """Queue a share of `texts` with the predictions among their `answers`. Never waits."""
        if not self._thread:
            return
        for text, answer in zip(texts, answers, strict=True):
            if isinstance(answer, Prediction) and random() < self._share:
                if len(text) > _MAX_LENGTH or self._is_busy():
                    self._count("shed")
                    continue
                try:
                    self._queue.put_nowait(_Scored(text, answer))
                except queue.Full:
                    self._count("shed")

    def report(self) -> dict[str, object]:
        """Return the counts and the last disagreements since the model was loaded."""
        with self._lock:
            counts = {outcome: self._counts[outcome] for outcome in OUTCOMES}
            examples = list(self._examples)
        compared = counts["agreed"] + counts["disagreed"]
        manifest = self._model.manifest
        return {
            "model": {"name": manifest.name, "version": manifest.version} if manifest else None,
            "share": self._share,
            **counts,
            "agreement": counts["agreed"] / compared if compared else None,
            "error": self._model.error,
            "examples": examples,
        }

    def _run(self, folder: Path) -> None:
        last: object = None
        while not self._closed:
            if (current := poll(folder)) != last:
                last = current
                with self._lock:
                    self._counts.clear()
                    self._examples.clear()
                self._model.load(folder.resolve())
            try:
                scored = self._queue.get(timeout=_POLL_INTERVAL)
            except queue.Empty:
                continue
            if scored and self._model.manifest:
                self._compare(scored)

    def _compare(self, scored: _Scored) -> None:
        served = scored.served
        answer = None if self._is_busy() else self._model.predict(scored.text)
        if answer is None:
            self._count("shed")
        elif not isinstance(answer, Prediction):
            self._count("failed")
        elif answer.label == served.label:
            self._count("agreed")
        else:
            self._count("disagreed")
            example = {
                "text": scored.text[:_EXAMPLE_LENGTH],
                "label": served.label,
                "score": served.score,
                "shadow_label": answer.label,
                "shadow_score": answer.score,
            }
            with self._lock:
                self._examples.append(example)

    def _count(self, outcome: str) -> None:
        with self._lock:
            self._counts[outcome] += 1
        self._on_outcome(outcome)


class _ModelProcess:
    """A classifier in a separate process."""

    manifest: Manifest | None = None
    """None while no model is loaded."""
    error: str | None = None
    """Why the model could not be loaded, or ended."""

    _process: BaseProcess | None = None
    _connection: Connection[Any, Any] | None = None

    def load(self, folder: Path) -> None:
        """Replace the process by one with the bundle in `folder`. Errors are in `error`."""
        self.stop()
        self.error = None
        context = multiprocessing.get_context("spawn")
        try:
            self._connection, other = context.Pipe()
            with other:
                process = context.Process(target=_serve, args=(other, folder), daemon=True)
                process.start()
        except OSError as error:  # too many processes or open files
            self._fail(f"its process cannot be started: {error}")
            return
        self._process = process
        answer = self._receive()
        if isinstance(answer, Manifest):
            self.manifest = answer
            _log.info("shadow model: %s %s", answer.name, answer.version)
        else:
            self._fail(str(answer) or "its process ended while it was loading the model")

    def predict(self, text: str) -> object:
        """Return the prediction for `text`, or an error."""
        if not self._connection:
            return self.error
        try:
            self._connection.send(text)
            answer = self._receive()
        except OSError as error:
            answer = error
        if isinstance(answer, OSError | EOFError):
            self._fail(f"the process of the shadow model ended ({answer!r})")
        return answer

    def stop(self) -> None:
        """End the process."""
        self.manifest = None
        if self._process:
            self._process.kill()
            self._process.join()
            self._process = None
        if self._connection:
            self._connection.close()
            self._connection = None

    def _receive(self) -> object:
        assert self._connection  # noqa: S101  # nosec B101  # callers check
        try:
            if not self._connection.poll(_TIMEOUT):
                return TimeoutError(f"no answer in {_TIMEOUT:g} s")
            return self._connection.recv()
        except (OSError, EOFError) as error:
            return error

    def _fail(self, reason: str) -> None:
        self.stop()
        self.error = reason
        _log.warning("the shadow model cannot be used: %s", reason)


def _serve(connection: Connection[Any, Any], folder: Path) -> None:
    """Answer texts with predictions until the server ends; the first message is the manifest."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of a terminal
    os.nice(_LOWEST_PRIORITY)
    try:
        classifier = Classifier(read_bundle(folder), threads=1, gpu=False)
    except BundleError as error:
        connection.send(error)
        return
    connection.send(classifier.manifest)
    with suppress(EOFError):  # the server has ended
        while True:
            connection.send(classifier.predict_each([connection.recv()])[0])
