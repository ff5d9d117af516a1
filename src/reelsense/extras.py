"""Check that optional dependencies are installed."""

from __future__ import annotations

import importlib.util

from reelsense.errors import MissingExtraError


def importable(module: str, extra: str, purpose: str = "this") -> None:
    """Check that the top-level `module` of the extra `extra` is installed, without importing it.

    Raises MissingExtraError with the pip command; `purpose` is the subject of its message.
    """
    if importlib.util.find_spec(module) is None:
        raise MissingExtraError(
            f"{purpose} needs {module}, which is not installed: pip install 'reelsense[{extra}]', "
            f"or in a clone: pip install --constraint constraints.txt '.[{extra}]'"
        )
