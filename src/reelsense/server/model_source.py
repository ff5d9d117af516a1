"""Where the model comes from that a server answers with: a folder, or other processes.

Knows how to look and to load. Does not know when.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from reelsense import registry
from reelsense.bundle import Bundle, Manifest, bundle_paths, read_bundle
from reelsense.errors import BundleError, TextError
from reelsense.inference.batching import OnBatch
from reelsense.inference.call_context import CallContext
from reelsense.inference.classifier import Classifier
from reelsense.inference.engine import available_cores
from reelsense.inference.explain import BUDGET
from reelsense.prediction import Explanation, Prediction
from reelsense.server.settings import Settings


class ClassifierProtocol(Protocol):
    """What the server needs of a `Classifier`, wherever that is."""

    @property
    def manifest(self) -> Manifest:
        """What the bundle says of itself."""

    @property
    def card(self) -> str:
        """The model card."""

    @property
    def evaluation(self) -> str | None:
        """Content of evaluation.json, if there is one."""

    @property
    def size(self) -> int:
        """The bytes of the network."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the columns of `predict_proba`."""

    def predict_each(
        self, texts: Sequence[str], *, risk: float | None = None, context: CallContext | None = None
    ) -> list[Prediction | TextError]:
        """As `Classifier.predict_each`."""

    def explain(
        self,
        text: str,
        *,
        budget: int = BUDGET,
        risk: float | None = None,
        context: CallContext | None = None,
    ) -> Explanation:
        """As `Classifier.explain`."""

    def predict_proba(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """As `Classifier.predict_proba`."""


class ModelSource(Protocol):
    """Where a model comes from that may change."""

    def poll(self) -> object:
        """Return what changes whenever the model does. Raises nothing."""

    def load(self, on_batch: OnBatch) -> ClassifierProtocol:
        """Return the model as it is now. Raises BundleError, NotReadyError."""


class FolderSource:
    """The folder of the model that the settings name, by default the bundled model's."""

    def __init__(self, settings: Settings) -> None:
        """Find the model. Raises BundleError if there is none of that name."""
        self._settings = settings
        self._folder = registry.find(settings.model or None)

    def poll(self) -> object:
        """Look at its files."""
        return poll(self._folder)

    def load(self, on_batch: OnBatch) -> Classifier:
        """Read and check the bundle and compile its network. Raises BundleError."""
        with unchanged(self._folder) as folder:
            return built(read_bundle(folder), self._settings, on_batch)


def built(bundle: Bundle, settings: Settings, on_batch: OnBatch) -> Classifier:
    """Return the classifier of one of the processes that `settings` want."""
    workers = settings.workers
    return Classifier(
        bundle,
        threads=max(1, available_cores() // workers) if workers > 1 else None,
        cache_size=settings.cache_size,
        on_batch=on_batch,
    )


@contextmanager
def unchanged(folder: Path) -> Iterator[Path]:
    """Yield where `folder` leads to. Raises BundleError if its files change meanwhile."""
    # Resolved, so that all files are of one bundle where `folder` is a link that is turned.
    folder = folder.resolve()
    before = poll(folder)
    yield folder
    if poll(folder) != before:
        raise BundleError(f"{folder} changed while it was read")


def check(classifier: ClassifierProtocol) -> None:
    """Raise BundleError unless `classifier` gives probabilities, alone and side by side."""
    for texts in (_CANARY[:1], _CANARY):
        for row in classifier.predict_proba(texts):
            if not np.isclose(row.sum(), 1) or not np.isfinite(row).all():
                raise BundleError(f"its answer to a test is no probability: {row.tolist()}")


_CANARY = ["A joy from the first scene to the last.", "A bore, and a long one: " + "dull " * 400]
"""A model has to answer these before it serves: one window, and several."""

_Look = dict[str, tuple[int, int, int, int] | None]


def poll(folder: Path) -> _Look:
    """Return what changes whenever a file of the bundle in `folder` does."""
    return {path.name: _of_file(path) for path in bundle_paths(folder)}


def _of_file(path: Path) -> tuple[int, int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
