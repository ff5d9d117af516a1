"""Installed models, verified."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from reelsense.bundle import Bundle, read_bundle
from reelsense.bundle.installed import DEFAULT, find, names
from reelsense.errors import BundleError

__all__ = ["InstalledModel", "find", "installed", "names", "published_name"]

_PROJECT_MODELS = {DEFAULT, "accurate"}


@dataclass(frozen=True, slots=True)
class InstalledModel:
    """A registered model, whether or not it can be loaded."""

    name: str
    folder: Path | None
    """None if its package cannot be found."""
    bundle: Bundle | None
    """None if it cannot be loaded; `error` says why."""
    error: str | None = None


def installed() -> list[InstalledModel]:
    """Return all installed models, verified, the bundled one first. Does not raise."""
    return [_load(name) for name in names()]


def published_name(folder: Path) -> str | None:
    """Return the name of the model in `folder` if this project publishes it, else None."""
    for name in _PROJECT_MODELS.intersection(names()):
        with suppress(BundleError):
            if find(name).resolve() == folder.resolve():
                return name
    return None


def _load(name: str) -> InstalledModel:
    folder = None
    try:
        folder = find(name)
        return InstalledModel(name, folder, read_bundle(folder))
    except BundleError as error:
        return InstalledModel(name, folder, None, str(error))
