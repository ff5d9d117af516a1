"""Folders of installed models: the bundled one, and those that packages register.

An entry point of the group `reelsense.models` has the name of the model and names a top-level
package with the bundle in its folder `bundle`. The package is located, not imported.
"""

from __future__ import annotations

import os
from contextlib import suppress
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path

from reelsense.bundle.manifest import MANIFEST, ModelReference
from reelsense.bundle.serialization import parse
from reelsense.errors import BundleError

DEFAULT_BUNDLE = Path(__file__).parent.parent / "models" / "default"  # bundled with the package

GROUP = "reelsense.models"
DEFAULT = "default"  # the bundled model; no other package can register this name
FOLDER = "bundle"  # of a package that registers a model


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


def locate(reference: ModelReference, neighbours: Path) -> Path:
    """Return the folder of the model that a cascade refers to, if its manifest has the version.

    It is looked for in `neighbours`, under its version as in a model directory, and among the
    installed models. Raises BundleError (`no-cascade-model`).
    """
    candidates = [neighbours / reference.version]
    for name in dict.fromkeys([reference.name, *names()]):
        with suppress(BundleError):
            candidates.append(find(name))
    for folder in candidates:
        with suppress(OSError, BundleError):
            manifest = parse(folder / MANIFEST, (folder / MANIFEST).read_bytes())
            if manifest.version == reference.version:
                return folder
    raise BundleError(
        f"the cascade needs the model {reference.name} {reference.version}, which is not installed "
        "(see `reelsense models`): install it, or make the cascade again with `reelsense cascade`",
        code="no-cascade-model",
    )


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
