"""Evaluate and calibrate classifiers on labelled texts. Needs the extra [eval], no PyTorch."""

from __future__ import annotations

from importlib.util import find_spec

from reelsense.errors import MissingExtraError

for _module in ("scipy", "matplotlib", "cleanlab"):
    if find_spec(_module) is None:
        raise MissingExtraError(
            f"this needs {_module}, which is not installed: pip install 'reelsense[eval]', or in "
            "a clone: pip install --constraint constraints.txt '.[eval]'"
        )
