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

from reelsense import bundle as bundles
from reelsense import registry
from reelsense.bundle import Bundle, Manifest
from reelsense.errors import BundleError, TextError
from reelsense.inference.batching import OnBatch
from reelsense.inference.call_context import Clock
from reelsense.inference.classifier import Classifier
from reelsense.inference.engine import available_cores
from reelsense.inference.explain import BUDGET
from reelsense.prediction import Explanation, Prediction
from reelsense.server.settings import Settings


class Answerer(Protocol):
    """What the server needs of a `Classifier`, wherever that is."""

    @property
    def manifest(self) -> Manifest:
        """What the bundle says of itself."""

    @property
    def card(self) -> str:
        """The model card."""

    @property
    def report(self) -> str | None:
        """The page of the evaluation, if there is one."""

    @property
    def size(self) -> int:
        """The bytes of the network."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the columns of `predict_proba`."""

    def predict_each(
        self, texts: Sequence[str], *, risk: float | None = None, clock: Clock | None = None
    ) -> list[Prediction | TextError]:
        """As `Classifier.predict_each`."""

    def explain(
        self,
        text: str,
        *,
        budget: int = BUDGET,
        risk: float | None = None,
        clock: Clock | None = None,
    ) -> Explanation:
        """As `Classifier.explain`."""

    def predict_proba(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """As `Classifier.predict_proba`."""


class Source(Protocol):
    """Where a model comes from that may change."""

    def look(self) -> object:
        """Return what changes whenever the model does. Raises nothing."""

    def load(self, on_batch: OnBatch) -> Answerer:
        """Return the model as it is now. Raises BundleError, NotReadyError."""


class Folder:
    """The folder of the model that the settings name, by default the bundled model's."""

    def __init__(self, settings: Settings) -> None:
        """Find the model. Raises BundleError if there is none of that name."""
        self._settings = settings
        self._folder = registry.find(settings.model or None)

    def look(self) -> object:
        """Look at its files."""
        return look(self._folder)

    def load(self, on_batch: OnBatch) -> Classifier:
        """Read and check the bundle and compile its network. Raises BundleError."""
        with unchanged(self._folder) as folder:
            return built(bundles.read(folder), self._settings, on_batch)


def built(bundle: Bundle, settings: Settings, on_batch: OnBatch) -> Classifier:
    """Return the classifier of one of the processes that `settings` want."""
    workers = settings.workers
    return Classifier(
        bundle,
        threads=max(1, available_cores() // workers) if workers > 1 else None,
        remembered=settings.cache,
        on_batch=on_batch,
    )


@contextmanager
def unchanged(folder: Path) -> Iterator[Path]:
    """Yield where `folder` leads to. Raises BundleError if its files change meanwhile."""
    # Resolved, so that all files are of one bundle where `folder` is a link that is turned.
    folder = folder.resolve()
    before = look(folder)
    yield folder
    if look(folder) != before:
        raise BundleError(f"{folder} changed while it was read")


def check(classifier: Answerer) -> None:
    """Raise BundleError unless `classifier` gives probabilities, alone and side by side."""
    for texts in (_CANARY[:1], _CANARY):
        for row in classifier.predict_proba(texts):
            if not np.isclose(row.sum(), 1) or not np.isfinite(row).all():
                raise BundleError(f"its answer to a test is no probability: {row.tolist()}")


_CANARY = ["A joy from the first scene to the last.", "A bore, and a long one: " + "dull " * 400]
"""A model has to answer these before it serves: one window, and several."""

_Look = dict[str, tuple[int, int, int, int] | None]


def look(folder: Path) -> _Look:
    """Return what changes whenever a file of the bundle in `folder` does."""
    return {path.name: _of_file(path) for path in bundles.paths(folder)}


def _of_file(path: Path) -> tuple[int, int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
