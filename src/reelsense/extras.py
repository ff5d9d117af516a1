"""Optional dependencies: check for one, and name the pip command if it is missing."""

from __future__ import annotations

import importlib.util

from reelsense.errors import MissingExtraError


def importable(module: str, extra: str, purpose: str = "this") -> None:
    """Check that an optional dependency is installed, without importing it.

    Args:
        module: Top-level module of the dependency.
        extra: The extra of reelsense that installs it.
        purpose: What needs the module; the subject of the error message.

    Raises:
        MissingExtraError: The module is not installed. The message names the pip command.
    """
    if importlib.util.find_spec(module) is None:
        raise MissingExtraError(
            f"{purpose} needs {module}, which is not installed: pip install 'reelsense[{extra}]', "
            f"or in a clone: pip install --constraint constraints.txt '.[{extra}]'"
        )
