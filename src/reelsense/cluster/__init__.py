"""Serving from many machines. Needs the extra [ray]; nothing else in reelsense imports Ray."""

from __future__ import annotations

from importlib.util import find_spec

from reelsense.errors import MissingExtraError

for _module in ("ray", "a2wsgi"):
    if find_spec(_module) is None:
        raise MissingExtraError(
            f"this needs {_module}, which is not installed: pip install 'reelsense[ray]', or in "
            "a clone: pip install --constraint constraints.txt '.[ray]'"
        )
