"""The model that a server process answers with, and whether it is ready."""

from __future__ import annotations

import logging
import threading

from flask import current_app

from reelsense.bundle import Bundle
from reelsense.errors import NotReadyError
from reelsense.inference.classifier import Classifier

_log = logging.getLogger(__name__)


class ServedModel:
    """A classifier, or the promise of one: it is ready once it has answered a first time."""

    def __init__(self, model: Bundle | Classifier, remembered: int) -> None:
        """Take a classifier, or begin to load a bundle; /healthz answers meanwhile.

        That of a bundle keeps its `remembered` last answers.
        """
        self._classifier: Classifier | None = None
        self._state = "the model is being loaded"
        threading.Thread(target=self._prepare, args=(model, remembered), daemon=True).start()

    def _prepare(self, model: Bundle | Classifier, remembered: int) -> None:
        try:
            if isinstance(model, Bundle):
                classifier = Classifier(model, remembered=remembered)
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


def served_classifier() -> Classifier:
    """Return the classifier of the current application. Raises NotReadyError."""
    served: ServedModel = current_app.extensions["reelsense"]
    return served.classifier
