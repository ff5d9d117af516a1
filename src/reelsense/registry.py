"""Installed models by name: the bundled one, and those that other packages register.

A package registers its bundle with an entry point of the group `reelsense.models`. The entry
point's name is the name of the model; its value is a top-level package that has the bundle in its
folder `bundle`. The package is located, not imported. Does not load networks.
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
DEFAULT = "default"
"""The name of the bundled model; no other package can register it."""

FOLDER = "bundle"
"""Name of the folder of the bundle in a package that registers a model."""

_HOW_TO_INSTALL = {
    "accurate": "in a clone of reelsense, install it with pip install ./models/accurate"
}
"""The project's own models, by name."""


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
            has that name, a folder. None is the bundled model.

    Returns:
        The folder of the bundle, not yet verified: `read_bundle` does that.

    Raises:
        BundleError: There is neither a model nor a folder of that name, or the package that
            registered the model is no longer installed.
    """
    if name_or_path is None:
        return DEFAULT_BUNDLE
    if isinstance(name_or_path, Path) or _is_path(name_or_path):
        return Path(name_or_path)
    if folder := _named(name_or_path):
        return folder
    if name_or_path and Path(name_or_path).is_dir():
        return Path(name_or_path)
    hint = _HOW_TO_INSTALL.get(name_or_path)
    raise BundleError(
        f'there is no model "{name_or_path}": expected an installed model ({", ".join(names())}) '
        f"or the folder of a bundle{f'; {hint}' if hint else ''}",
        code="no-such-model",
    )


def names() -> list[str]:
    """Return the names of all installed models, the bundled one first."""
    return [DEFAULT, *sorted(_registered())]


def installed() -> list[InstalledModel]:
    """Return all installed models, verified, the bundled one first. Raises nothing."""
    return [_load(name) for name in names()]


def published_name(folder: Path) -> str | None:
    """Return the name of the model in `folder` if it is one of the project's own, else None."""
    for name in (DEFAULT, *_HOW_TO_INSTALL):
        with suppress(BundleError):
            own = _named(name)
            if own and own.resolve() == folder.resolve():
                return name
    return None


def _load(name: str) -> InstalledModel:
    folder = None
    try:
        folder = find(name)
        return InstalledModel(name, folder, read_bundle(folder))
    except BundleError as error:
        return InstalledModel(name, folder, None, str(error))


def _named(name: str) -> Path | None:
    """Return the folder of an installed model, None if it is not installed. Raises BundleError."""
    if name == DEFAULT:
        return DEFAULT_BUNDLE
    entry = _registered().get(name)
    return _folder(entry) if entry else None


def _is_path(name_or_path: str) -> bool:
    separators = (os.sep, os.altsep or os.sep)
    return name_or_path.startswith(".") or any(
        separator in name_or_path for separator in separators
    )


def _registered() -> dict[str, EntryPoint]:
    """Return the entry points by name. The first on the path wins, as with imports."""
    entries: dict[str, EntryPoint] = {}
    for entry in entry_points(group=GROUP):
        if entry.name != DEFAULT and not _is_path(entry.name):
            entries.setdefault(entry.name, entry)
    return entries


def _folder(entry: EntryPoint) -> Path:
    """Return the folder of a registered bundle. Raises BundleError if its package is missing."""
    try:
        # Only top-level packages: to find a nested one, Python would import its parents.
        spec = find_spec(entry.value) if entry.value.isidentifier() else None
    except ValueError:  # a module without a file, as __main__
        spec = None
    folders = list(spec.submodule_search_locations or ()) if spec else []
    if not folders:
        raise BundleError(
            f'the model "{entry.name}" is registered, but its package {entry.value!r} cannot be '
            "found: install the package again, or uninstall it",
            code="no-such-model",
        )
    return Path(folders[0]) / FOLDER
