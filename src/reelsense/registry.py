"""Installed models by name: the bundled one, and those that packages register by entry points.

An entry point of the group `reelsense.models` has the name of the model and names a top-level
package with the bundle in its folder `bundle`. The package is located, not imported.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path

from reelsense.bundle import DEFAULT_BUNDLE, Bundle, read_bundle
from reelsense.errors import BundleError

GROUP = "reelsense.models"
DEFAULT = "default"  # the bundled model; no other package can register this name
FOLDER = "bundle"  # of a package that registers a model

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


def find(name_or_path: str | Path | None = None) -> Path:
    """Return the folder of a model. A folder given as a path need not exist.

    Args:
        name_or_path: A `Path` is a folder, and so is a string that contains a path separator or
            begins with a dot. Any other string is the name of an installed model or, if no model
            has that name, a folder. None: the bundled model.

    Returns:
        The folder of the bundle, not yet verified: `read_bundle` does that.

    Raises:
        BundleError: Neither a model nor a folder has that name, or the package that registered the
            model is no longer installed.
    """
    if name_or_path is None or name_or_path == DEFAULT:
        return DEFAULT_BUNDLE
    if isinstance(name_or_path, Path) or _is_path(name_or_path):
        return Path(name_or_path)
    if entry := _registered().get(name_or_path):
        return _folder(entry)
    if name_or_path and Path(name_or_path).is_dir():
        return Path(name_or_path)
    raise BundleError(
        f'unknown model "{name_or_path}": expected an installed model ({", ".join(names())}) '
        "or the folder of a bundle",
        code="no-such-model",
    )


def names() -> list[str]:
    """Return the names of all installed models, the bundled one first."""
    return [DEFAULT, *sorted(_registered())]


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


def _is_path(name_or_path: str) -> bool:
    return name_or_path.startswith(".") or os.sep in name_or_path or "/" in name_or_path


def _registered() -> dict[str, EntryPoint]:
    """Return the entry points by name. The first on the path takes precedence, as with imports."""
    entries: dict[str, EntryPoint] = {}
    for entry in entry_points(group=GROUP):
        if entry.name != DEFAULT and not _is_path(entry.name):
            entries.setdefault(entry.name, entry)
    return entries


def _folder(entry: EntryPoint) -> Path:
    try:
        # Only top-level packages: to find a nested one, Python would import its parents.
        spec = find_spec(entry.value) if entry.value.isidentifier() else None
    except ValueError:  # a module without a file, such as __main__
        spec = None
    folders = list(spec.submodule_search_locations or ()) if spec else []
    if not folders:
        raise BundleError(
            f'the model "{entry.name}" is registered, but its package {entry.value!r} cannot be '
            "found: install the package again, or uninstall it",
            code="no-such-model",
        )
    return Path(folders[0]) / FOLDER
