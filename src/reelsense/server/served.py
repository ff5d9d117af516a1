"""What a server process answers with: its settings, and the model once that is ready."""

from __future__ import annotations

import logging
import threading

from flask import current_app

from reelsense.bundle import Bundle
from reelsense.errors import NotReadyError
from reelsense.inference.classifier import Classifier
from reelsense.server.config import Settings

_log = logging.getLogger(__name__)


class Served:
    """Settings, and a classifier or the promise of one: ready once it has answered a first time."""

    def __init__(self, settings: Settings, model: Bundle | Classifier) -> None:
        """Take a classifier, or begin to load a bundle; /healthz answers meanwhile."""
        self.settings = settings
        self._classifier: Classifier | None = None
        self._state = "the model is being loaded"
        threading.Thread(target=self._prepare, args=(model,), daemon=True).start()

    def _prepare(self, model: Bundle | Classifier) -> None:
        try:
            if isinstance(model, Bundle):
                classifier = Classifier(model, remembered=self.settings.cache)
            else:
                classifier = model
            classifier.predict(["A first answer, so that the next one is quick."])
        except Exception as error:  # noqa: BLE001  # /readyz tells it, whatever it is
            _log.exception("the model could not be loaded")
            self._state = f"the model could not be loaded: {error}"
        else:
            self._classifier = classifier

    @property
    def classifier(self) -> Classifier:
        """The classifier. Raises NotReadyError saying why there is none (yet)."""
        if self._classifier is None:
            raise NotReadyError(self._state)
        return self._classifier


def served() -> Served:
    """Return what the current application serves."""
    found: Served = current_app.extensions["reelsense"]
    return found
