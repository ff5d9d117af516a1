"""What a server process answers with: its settings, and a model that can change while it serves."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import partial

from flask import current_app, g

from reelsense.bundle import Bundle
from reelsense.errors import BundleError, NotReadyError
from reelsense.inference.batching import OnBatch
from reelsense.inference.classifier import Classifier
from reelsense.server.model_source import (
    ClassifierProtocol,
    FolderSource,
    ModelSource,
    built,
    check,
)
from reelsense.server.settings import Settings

_log = logging.getLogger(__name__)

_LOOK_EVERY = 1.0
"""Seconds between two looks at the files of the bundle."""


class ModelHolder:
    """Settings, and a classifier or the promise of one: ready once it has answered a first time.

    A bundle that changes is loaded beside the one that serves, which it replaces if it answers.
    """

    draining = False
    """The process takes no new connections and ends with those it has."""

    def __init__(
        self,
        settings: Settings,
        model: Bundle | Classifier | ModelSource | None = None,
        on_batch: OnBatch = lambda *_: None,
        on_load: Callable[[ClassifierProtocol | None], None] = lambda _: None,
        on_reload: Callable[[], None] = lambda: None,
    ) -> None:
        """Take a model, or load that of a source: by default, of the folder that `settings` name.

        `on_batch` is told of every batch that runs, `on_load` of every model that was loaded, or
        with None that one could not be; `on_reload` is called whenever `reload` was.
        """
        self.settings = settings
        self._on_load, self._on_reload = on_load, on_reload
        self.reload_everywhere = self.reload
        """The same in all processes, where there are several."""
        self._classifier: ClassifierProtocol | None = None
        self._state = "the model is being loaded"
        self._tried = threading.Event()
        self._wake = threading.Event()
        self._closed = False
        load: Callable[[], ClassifierProtocol]
        self._source: ModelSource | None = None
        if isinstance(model, Classifier):
            load = lambda: model  # noqa: E731
        elif isinstance(model, Bundle):
            load = partial(built, model, settings, on_batch)
        else:
            self._source = model or FolderSource(settings)
            load = partial(self._source.load, on_batch)
        self._thread = threading.Thread(target=self._watch, args=(load,), name="model", daemon=True)
        self._thread.start()

    def close(self, seconds: float = 30) -> None:
        """Look for no more models; wait for one that is being loaded: it cannot be stopped."""
        self._closed = True
        self._wake.set()
        self._thread.join(seconds)

    def reload(self) -> None:
        """Load the bundle anew, soon, and what else can change."""
        self._wake.set()

    def classifier(self, seconds: float = 0) -> ClassifierProtocol:
        """Return the classifier, for the first of which `seconds` may be waited.

        Raises NotReadyError saying why there is none (yet).
        """
        self._tried.wait(seconds)
        if self._classifier is None:
            raise NotReadyError(self._state)
        return self._classifier

    def _watch(self, load: Callable[[], ClassifierProtocol]) -> None:
        """Load the first model; then, where it comes from a source, its next."""
        source = self._source
        seen = source.poll() if source else None
        self._load(load)
        self._tried.set()
        while True:
            asked = self._wake.wait(_LOOK_EVERY if source else None)
            self._wake.clear()
            if self._closed:
                return
            if asked:
                self._on_reload()
            if source and ((found := source.poll()) != seen or asked):
                seen = found
                self._load(load)

    def _load(self, load: Callable[[], ClassifierProtocol]) -> None:
        begun = time.monotonic()
        try:
            classifier = load()
            check(classifier)
        except Exception as error:  # noqa: BLE001  # /readyz and the log tell it, whatever it is
            known = isinstance(error, BundleError | NotReadyError)
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
        self._on_load(classifier)  # first, so that whoever sees the new model finds it counted
        self._classifier = classifier
        _log.log(
            logging.INFO,
            "%s %s serves now, loaded in %.1f s",
            classifier.manifest.name,
            classifier.manifest.version,
            time.monotonic() - begun,
        )


def get_model_holder() -> ModelHolder:
    """Return what the current application serves."""
    found: ModelHolder = current_app.extensions["reelsense"]
    return found


def classifier(seconds: float = 0) -> ClassifierProtocol:
    """Return the classifier of the current request: the same from its begin to its end.

    Raises NotReadyError if there is none within `seconds`.
    """
    if "classifier" not in g:
        g.classifier = get_model_holder().classifier(seconds)
    found: ClassifierProtocol = g.classifier
    return found
