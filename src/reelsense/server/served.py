"""What a server process answers with: its settings, and a model that can change while it serves."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from flask import current_app, g

from reelsense import bundle as bundles
from reelsense.bundle import Bundle
from reelsense.errors import BundleError, NotReadyError
from reelsense.inference.batching import OnBatch
from reelsense.inference.classifier import Classifier
from reelsense.inference.engine import available_cores
from reelsense.server.config import Settings

_log = logging.getLogger(__name__)

_CANARY = ["A joy from the first scene to the last.", "A bore, and a long one: " + "dull " * 400]
"""A model has to answer these before it serves: one window, and several."""

_LOOK_EVERY = 1.0
"""Seconds between two looks at the files of the bundle."""


class Served:
    """Settings, and a classifier or the promise of one: ready once it has answered a first time.

    A bundle that changes is loaded beside the one that serves, which it replaces if it answers.
    """

    draining = False
    """The process takes no new connections and ends with those it has."""

    def __init__(
        self,
        settings: Settings,
        model: Bundle | Classifier | None = None,
        on_batch: OnBatch = lambda *_: None,
        on_load: Callable[[Classifier | None], None] = lambda _: None,
        on_reload: Callable[[], None] = lambda: None,
    ) -> None:
        """Take a model, or load the bundle that `settings` name; /healthz answers meanwhile.

        `on_batch` is told of every batch that runs, `on_load` of every model that was loaded, or
        with None that one could not be; `on_reload` is called whenever `reload` was.
        """
        self.settings = settings
        self._on_batch, self._on_load, self._on_reload = on_batch, on_load, on_reload
        self.reload_everywhere = self.reload
        """The same in all processes, where there are several."""
        self._folder = Path(settings.model or bundles.DEFAULT)
        self._classifier: Classifier | None = None
        self._state = "the model is being loaded"
        self._tried = threading.Event()
        self._wake = threading.Event()
        self._closed = False
        self._thread = threading.Thread(
            target=self._watch, args=(model,), name="model", daemon=True
        )
        self._thread.start()

    def close(self, seconds: float = 30) -> None:
        """Look for no more models; wait for one that is being loaded: it cannot be stopped."""
        self._closed = True
        self._wake.set()
        self._thread.join(seconds)

    def reload(self) -> None:
        """Load the bundle anew, soon, and what else can change."""
        self._wake.set()

    def classifier(self, seconds: float = 0) -> Classifier:
        """Return the classifier, for the first of which `seconds` may be waited.

        Raises NotReadyError saying why there is none (yet).
        """
        self._tried.wait(seconds)
        if self._classifier is None:
            raise NotReadyError(self._state)
        return self._classifier

    def _watch(self, model: Bundle | Classifier | None) -> None:
        """Load the first model; then, where it came from the files of `settings`, their next."""
        seen = _look(self._folder)
        self._load(model)
        self._tried.set()
        while True:
            asked = self._wake.wait(None if model else _LOOK_EVERY)
            self._wake.clear()
            if self._closed:
                return
            if asked:
                self._on_reload()
            found = _look(self._folder)
            if model is None and (asked or found != seen):
                seen = found
                self._load(None)

    def _load(self, model: Bundle | Classifier | None) -> None:
        begun = time.monotonic()
        try:
            classifier = model if isinstance(model, Classifier) else self._built(model)
            _check(classifier)
        except Exception as error:  # noqa: BLE001  # /readyz and the log tell it, whatever it is
            known = isinstance(error, BundleError)
            kept = self._classifier.manifest.version if self._classifier else None
            _log.error(
                "the model could not be loaded: %s; %s",
                error,
                f"version {kept} serves on" if kept else "requests get 503",
                exc_info=not known,
            )
            self._state = f"the model could not be loaded: {error}"
            self._on_load(None)
            return
        before = self._classifier
        self._classifier = classifier
        self._on_load(classifier)
        _log.log(
            logging.INFO if before else logging.DEBUG,
            "%s %s serves now, loaded in %.1f s",
            classifier.manifest.name,
            classifier.manifest.version,
            time.monotonic() - begun,
        )

    def _built(self, bundle: Bundle | None) -> Classifier:
        # Resolved, so that all files are of one bundle where `folder` is a link that is turned.
        folder = self._folder.resolve()
        before = _look(folder)
        workers = self.settings.workers
        classifier = Classifier(
            bundle or bundles.read(folder),
            threads=max(1, available_cores() // workers) if workers > 1 else None,
            remembered=self.settings.cache,
            on_batch=self._on_batch,
        )
        if bundle is None and _look(folder) != before:
            raise BundleError(f"{folder} changed while it was read")
        return classifier


def _check(classifier: Classifier) -> None:
    """Raise BundleError unless `classifier` gives probabilities, alone and side by side."""
    for texts in (_CANARY[:1], _CANARY):
        for row in classifier.predict_proba(texts):
            if not np.isclose(row.sum(), 1) or not np.isfinite(row).all():
                raise BundleError(f"its answer to a test is no probability: {row.tolist()}")


_Look = tuple[tuple[int, int, int, int] | None, ...]


def _look(folder: Path) -> _Look:
    """Return what changes whenever a file of the bundle in `folder` does."""
    return tuple(_of_file(folder / name) for name in bundles.FILES)


def _of_file(path: Path) -> tuple[int, int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


def served() -> Served:
    """Return what the current application serves."""
    found: Served = current_app.extensions["reelsense"]
    return found


def classifier(seconds: float = 0) -> Classifier:
    """Return the classifier of the current request: the same from its begin to its end.

    Raises NotReadyError if there is none within `seconds`.
    """
    if "classifier" not in g:
        g.classifier = served().classifier(seconds)
    found: Classifier = g.classifier
    return found
