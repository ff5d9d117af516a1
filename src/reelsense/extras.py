"""Check that optional dependencies are installed."""

from __future__ import annotations

import importlib.util

from reelsense.errors import MissingExtraError


def importable(module: str, extra: str, purpose: str = "this") -> None:
    """Check that `module` of the extra `extra` is installed, without importing it.

    Raises MissingExtraError with the pip command; `purpose` is the subject of its message.
    """
    if not _is_installed(module):
        raise MissingExtraError(
            f"{purpose} needs {module}, which is not installed: pip install 'reelsense[{extra}]', "
            f"or in a clone: pip install --constraint constraints.txt '.[{extra}]'"
        )


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of a package that contains it
        return False
