"""Where the server loads its model from: a folder, or other processes.

Does not decide when to load it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from reelsense import registry
from reelsense.bundle import Bundle, Manifest, bundle_paths, read_bundle
from reelsense.errors import BundleError, ModelDirectoryError, SettingsError, TextError
from reelsense.inference.batching import Cores, OnBatch
from reelsense.inference.call_context import CallContext
from reelsense.inference.classifier import Classifier
from reelsense.inference.engine import available_cores
from reelsense.inference.explain import BUDGET
from reelsense.model_directory import CHAMPION, ModelDirectory
from reelsense.prediction import Explanation, Prediction
from reelsense.server.settings import Settings


class ClassifierProtocol(Protocol):
    """The part of `Classifier` that the server uses; replicas on a cluster implement it too."""

    @property
    def manifest(self) -> Manifest: ...
    @property
    def card(self) -> str: ...
    @property
    def evaluation(self) -> str | None: ...
    @property
    def profile(self) -> str | None: ...
    @property
    def size(self) -> int: ...
    @property
    def labels(self) -> tuple[str, ...]: ...

    def predict_each(
        self, texts: Sequence[str], *, risk: float | None = None, context: CallContext | None = None
    ) -> list[Prediction | TextError]: ...

    def explain(
        self,
        text: str,
        *,
        budget: int = BUDGET,
        risk: float | None = None,
        aspects: bool = False,
        context: CallContext | None = None,
    ) -> Explanation: ...

    def predict_proba(self, texts: Sequence[str]) -> NDArray[np.float64]: ...


class ModelSource(Protocol):
    """A source of a model that may change."""

    def poll(self) -> object:
        """Return a value that differs from the last one when the model changed. Never raises."""

    def load(self, on_batch: OnBatch) -> ClassifierProtocol:
        """Return the current model. Raises BundleError or NotReadyError."""


class FixedSource:
    """A classifier that never changes."""

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier

    def poll(self) -> object:
        return None

    def load(self, on_batch: OnBatch) -> Classifier:  # noqa: ARG002  # its queue already exists
        return self._classifier


DEFAULT = "default"  # name of the only model

_NAMED = re.compile(r"([A-Za-z0-9][\w.-]{0,63})=(.+)")


def model_folders(settings: Settings) -> dict[str, Path]:
    """Return the folder of each model that `settings` name, by the name that requests use.

    The first one is the default. Symbolic links are not resolved: a link that is redirected updates
    the model.

    Raises:
        BundleError: No model has that name.
        SettingsError: The settings name a model and a directory of models, or a name twice.
        ModelDirectoryError: The directory does not exist or has no champion.
    """
    if settings.models:
        return {DEFAULT: _champion(settings)}
    named = [_NAMED.fullmatch(part.strip()) for part in (settings.model or "").split(",")]
    if not all(named):
        return {DEFAULT: registry.find(settings.model or None)}
    folders = {match[1]: registry.find(match[2]) for match in named if match}
    if len(folders) < len(named):
        raise SettingsError(
            f'--model: invalid value "{settings.model}": expected a different name for each model',
            code="conflicting-settings",
        )
    return folders


def as_setting(folders: Mapping[str, Path]) -> str:
    """Return the value of the setting `model` for these folders."""
    if list(folders) == [DEFAULT]:
        return str(folders[DEFAULT].absolute())
    return ",".join(f"{name}={folder.absolute()}" for name, folder in folders.items())


def _champion(settings: Settings) -> Path:
    if settings.model:
        raise SettingsError(
            "--models cannot be combined with --model: set one of them",
            code="conflicting-settings",
        )
    directory = ModelDirectory(Path(str(settings.models)))
    directory.versions()
    if CHAMPION not in directory.aliases():
        raise ModelDirectoryError(
            f"{directory.path} has no {CHAMPION}: add a bundle with `reelsense models add` and "
            "promote it with `reelsense models promote`",
            code="no-champion",
        )
    return directory.path / CHAMPION


class FolderSource:
    """The model in a folder. Several models of a process share its `cores`."""

    def __init__(self, folder: Path, settings: Settings, cores: Cores | None = None) -> None:
        self._folder, self._settings, self._cores = folder, settings, cores

    def poll(self) -> object:
        return poll(self._folder)

    def load(self, on_batch: OnBatch) -> Classifier:
        with unchanged(self._folder) as folder:
            return create_classifier(read_bundle(folder), self._settings, on_batch, self._cores)


def folder_sources(settings: Settings) -> dict[str, ModelSource]:
    """Return the sources of the models that `settings` name. Raises what `model_folders` raises.

    They share the cores of the process, and the limit of cached predictions.
    """
    folders = model_folders(settings)
    settings = settings.model_copy(update={"cache_size": settings.cache_size // len(folders)})
    cores = Cores(process_cores(settings)) if len(folders) > 1 else None
    return {name: FolderSource(folder, settings, cores) for name, folder in folders.items()}


def process_cores(settings: Settings) -> int:
    """Return the number of cores of each server process."""
    return max(1, available_cores() // settings.workers)


def create_classifier(
    bundle: Bundle, settings: Settings, on_batch: OnBatch, cores: Cores | None = None
) -> Classifier:
    """Return the classifier of one server process, which gets its share of the cores."""
    return Classifier(
        bundle,
        threads=process_cores(settings) if settings.workers > 1 else None,
        cache_size=settings.cache_size,
        on_batch=on_batch,
        cores=cores,
    )


@contextmanager
def unchanged(folder: Path) -> Iterator[Path]:
    """Yield the resolved `folder`. Raises BundleError if its files change in the meantime."""
    # Resolved, so that all files come from one bundle if `folder` is a link that is redirected.
    folder = folder.resolve()
    before = poll(folder)
    yield folder
    if poll(folder) != before:
        raise BundleError(
            f"{folder} changed while it was read: replace the folder in one step",
            code="bundle-changed-while-read",
        )


def check_labels(manifest: Manifest, served: Sequence[str]) -> None:
    """Raise BundleError if a new model has other labels than `served`, or in another order."""
    if manifest.labels != tuple(served):
        raise BundleError(
            f"{manifest.name} {manifest.version} has the labels {', '.join(manifest.labels)}, "
            f"expected {', '.join(served)}, as served now: clients may depend on them. Use a model "
            "with these labels, or restart the server with the new one; with --allow-label-change, "
            "the server accepts such updates",
            code="labels-changed",
        )


_TEST_TEXTS = [
    "A joy from the first scene to the last.",  # a single window
    "A bore, and long: " + "dull " * 400,  # several windows
]


def self_test(classifier: ClassifierProtocol) -> None:
    """Raise BundleError unless the model returns probabilities, for one text and for a batch."""
    for texts in (_TEST_TEXTS[:1], _TEST_TEXTS):
        for row in classifier.predict_proba(texts):
            if not np.isclose(row.sum(), 1) or not np.isfinite(row).all():
                raise BundleError(
                    f"the self-test of the model returned {row.tolist()}: expected probabilities "
                    "that add up to 1",
                    code="self-test-failed",
                )


_FileStates = dict[str, tuple[int, int, int, int] | None]


def poll(folder: Path) -> _FileStates:
    """Return the state of each file of the bundle in `folder`, to detect changes."""
    return {path.name: _file_state(path) for path in bundle_paths(folder)}


def _file_state(path: Path) -> tuple[int, int, int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size
