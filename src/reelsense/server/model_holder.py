"""The models of a server process, which can be replaced while it serves."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from flask import g

from reelsense.errors import BundleError, NoModelError, NotReadyError, ReelsenseError
from reelsense.inference.batching import OnBatch
from reelsense.server.model_source import (
    ClassifierProtocol,
    ModelSource,
    check_labels,
    self_test,
)
from reelsense.server.state import get_state

_log = logging.getLogger(__name__)

_POLL_INTERVAL = 1.0  # seconds between two checks whether the model changed


class ModelHolder:
    """Loads the model in a thread, and replaces it when its source changes.

    A changed model is loaded next to the current one, which keeps serving until the new one has
    passed its self-test.

    Args:
        source: Where the model comes from.
        on_batch: Called after each batch.
        on_load: Called with each loaded model, and with None when loading fails.
        on_reload: Called when `reload` was requested.
        labels: Labels that the server already serves, in other processes; None: those of the first
            model. A model with other labels is rejected.
        allow_label_change: Accept other labels.
    """

    def __init__(
        self,
        source: ModelSource,
        *,
        on_batch: OnBatch,
        on_load: Callable[[ClassifierProtocol | None], None],
        on_reload: Callable[[], None],
        labels: Sequence[str] | None = None,
        allow_label_change: bool = False,
    ) -> None:
        self._source = source
        self._on_batch, self._on_load, self._on_reload = on_batch, on_load, on_reload
        self._labels, self._allow_label_change = labels, allow_label_change
        self._classifier: ClassifierProtocol | None = None
        self.loaded_at = 0.0  # seconds since 1970; 0 without a model
        self._status = "the model is being loaded"
        self._load_attempted = threading.Event()
        self._wake = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._watch, name="model", daemon=True)
        self._thread.start()

    def close(self, seconds: float = 30) -> None:
        """Stop watching the source. Waits up to `seconds` for a model that is being loaded."""
        self._closed = True
        self._wake.set()
        self._thread.join(seconds)

    def reload(self) -> None:
        """Request that the model is loaded again soon. Calls `on_reload` first."""
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
        last = self._source.poll()
        self._try_to_load()
        self._load_attempted.set()
        while True:
            requested = self._wake.wait(_POLL_INTERVAL)
            self._wake.clear()
            if self._closed:
                return
            if requested:
                self._on_reload()
            if (current := self._source.poll()) != last or requested:
                last = current
                self._try_to_load()

    def _try_to_load(self) -> None:
        start = time.monotonic()
        try:
            classifier = self._source.load(self._on_batch)
            if self._labels and not self._allow_label_change:
                check_labels(classifier.manifest, self._labels)
            self_test(classifier)
        except Exception as error:  # noqa: BLE001  # the log and /readyz report any error
            self._report_failure(error)
            return
        self._on_load(classifier)  # first: the metrics name a model before it answers requests
        self._classifier, self._labels = classifier, classifier.labels
        self.loaded_at = time.time()
        manifest, seconds = classifier.manifest, time.monotonic() - start
        _log.info("serving %s %s, loaded in %.1f s", manifest.name, manifest.version, seconds)

    def _report_failure(self, error: Exception) -> None:
        # Not the message, which may contain paths: anyone can request /readyz.
        code = error.code if isinstance(error, ReelsenseError) else "internal-error"
        self._status = f"the model could not be loaded ({code}): see the log of the server"
        version = self._classifier.manifest.version if self._classifier else None
        _log.error(
            "the model could not be loaded: %s; %s",
            error,
            f"still serving version {version}" if version else "requests get status 503",
            exc_info=not isinstance(error, BundleError | NotReadyError),
        )
        self._on_load(None)


class Models:
    """The models of a server process, by the names that requests use; the first is the default."""

    def __init__(self, holders: Mapping[str, ModelHolder]) -> None:
        self.holders = dict(holders)
        self.draining = False  # whether the process is shutting down
        self.reload_everywhere = self.reload  # like `reload`, in all processes of the server

    @property
    def default(self) -> ModelHolder:
        return self.holders[self.default_name]

    @property
    def default_name(self) -> str:
        return next(iter(self.holders))

    def reload(self) -> None:
        """Request that all models are loaded again soon."""
        for holder in self.holders.values():
            holder.reload()

    def close(self, seconds: float = 30) -> None:
        """Stop watching the sources. Waits up to `seconds` for each model that is being loaded."""
        for holder in self.holders.values():
            holder.close(seconds)


def classifier(seconds: float = 0) -> ClassifierProtocol:
    """Return the classifier of the current request, which stays the same throughout the request.

    Waits up to `seconds` for the first model. Raises NotReadyError if none is loaded.
    """
    if "classifier" not in g:
        g.classifier = get_state().models.holders[model_name()].classifier(seconds)
    current: ClassifierProtocol = g.classifier
    return current


def model_name() -> str:
    """Return the name of the model that the current request selects; by default the first one."""
    name: str = g.get("model_name") or get_state().models.default_name
    return name


def select_model(name: str | None) -> ClassifierProtocol:
    """Use the model `name` for the rest of the current request, and return it; None: the default.

    Waits for a model that is being loaded until the deadline of the request. Raises NoModelError if
    the server has no such model, and NotReadyError if it is not loaded.
    """
    models = get_state().models.holders
    if name is not None and name not in models:
        raise NoModelError(
            f'this server has no model "{name}": expected one of {", ".join(models)}'
        )
    if name not in (None, model_name()):
        g.model_name = name
        g.pop("classifier", None)
    return classifier(g.context.remaining or 0)
