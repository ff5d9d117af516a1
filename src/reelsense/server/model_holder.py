"""The model of a server process, which can be replaced while it serves."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import partial

from flask import g

from reelsense.bundle import Bundle
from reelsense.errors import BundleError, NotReadyError
from reelsense.inference.batching import OnBatch
from reelsense.inference.classifier import Classifier
from reelsense.server.model_source import (
    ClassifierProtocol,
    FolderSource,
    ModelSource,
    create_classifier,
    self_test,
)
from reelsense.server.settings import Settings
from reelsense.server.state import get_state

_log = logging.getLogger(__name__)

_POLL_INTERVAL = 1.0
"""Seconds between two checks whether the model changed."""


class ModelHolder:
    """Loads the model in a thread, and replaces it when its source changes.

    A changed model is loaded next to the current one, which keeps serving until the new one has
    passed its self-test.
    """

    draining = False
    """Whether the process is shutting down: it accepts no new connections."""

    def __init__(
        self,
        settings: Settings,
        model: Bundle | Classifier | ModelSource | None = None,
        on_batch: OnBatch = lambda *_: None,
        on_load: Callable[[ClassifierProtocol | None], None] = lambda _: None,
        on_reload: Callable[[], None] = lambda: None,
    ) -> None:
        """Start to load the model.

        Args:
            settings: Settings of the server.
            model: The model, or its source; by default the folder in `settings`.
            on_batch: Called after each batch.
            on_load: Called with each loaded model, and with None when loading fails.
            on_reload: Called when `reload` was requested.

        Raises:
            BundleError: There is no model with the name in `settings`.
        """
        self._on_load, self._on_reload = on_load, on_reload
        self.reload_everywhere = self.reload
        """Like `reload`, in all processes of the server."""
        self._classifier: ClassifierProtocol | None = None
        self._status = "the model is being loaded"
        self._load_attempted = threading.Event()
        self._wake = threading.Event()
        self._closed = False
        self._source: ModelSource | None = None
        self._load: Callable[[], ClassifierProtocol]
        if isinstance(model, Classifier):
            self._load = lambda: model
        elif isinstance(model, Bundle):
            self._load = partial(create_classifier, model, settings, on_batch)
        else:
            self._source = model or FolderSource(settings)
            self._load = partial(self._source.load, on_batch)
        self._thread = threading.Thread(target=self._watch, name="model", daemon=True)
        self._thread.start()

    def close(self, seconds: float = 30) -> None:
        """Stop watching the source. Waits up to `seconds` for a model that is being loaded."""
        self._closed = True
        self._wake.set()
        self._thread.join(seconds)

    def reload(self) -> None:
        """Request that the model, and what `on_reload` covers, is loaded again soon."""
        self._wake.set()

    def classifier(self, seconds: float = 0) -> ClassifierProtocol:
        """Return the current classifier. Waits up to `seconds` for the first one.

        Raises:
            NotReadyError: No model is loaded (yet); the message says why.
        """
        self._load_attempted.wait(seconds)
        if self._classifier is None:
            raise NotReadyError(self._status)
        return self._classifier

    def _watch(self) -> None:
        source = self._source
        last = source.poll() if source else None
        self._try_to_load()
        self._load_attempted.set()
        while True:
            requested = self._wake.wait(_POLL_INTERVAL if source else None)
            self._wake.clear()
            if self._closed:
                return
            if requested:
                self._on_reload()
            if source and ((current := source.poll()) != last or requested):
                last = current
                self._try_to_load()

    def _try_to_load(self) -> None:
        start = time.monotonic()
        try:
            classifier = self._load()
            self_test(classifier)
        except Exception as error:  # noqa: BLE001  # whatever it is, the log and /readyz report it
            self._report_failure(error)
            return
        self._on_load(classifier)  # first: whoever sees the new model finds it in the metrics
        self._classifier = classifier
        manifest, seconds = classifier.manifest, time.monotonic() - start
        _log.info("serving %s %s, loaded in %.1f s", manifest.name, manifest.version, seconds)

    def _report_failure(self, error: Exception) -> None:
        self._status = f"the model could not be loaded: {error}"
        version = self._classifier.manifest.version if self._classifier else None
        _log.error(
            "%s; %s",
            self._status,
            f"still serving version {version}" if version else "requests get status 503",
            exc_info=not isinstance(error, BundleError | NotReadyError),
        )
        self._on_load(None)


def get_model_holder() -> ModelHolder:
    """Return the model holder of the current application."""
    return get_state().model_holder


def classifier(seconds: float = 0) -> ClassifierProtocol:
    """Return the classifier of the current request, which stays the same throughout the request.

    Args:
        seconds: How long to wait while no model is loaded yet.

    Raises:
        NotReadyError: No model is loaded after that time.
    """
    if "classifier" not in g:
        g.classifier = get_model_holder().classifier(seconds)
    current: ClassifierProtocol = g.classifier
    return current
