"""Scoring of files and serving on a Ray cluster. Needs the extra [ray]."""

from __future__ import annotations

from importlib.util import find_spec

from reelsense.errors import MissingExtraError

for _module in ("ray", "a2wsgi", "pyarrow"):
    if find_spec(_module) is None:
        raise MissingExtraError(
            f"{_module} is not installed: run pip install 'reelsense[ray]' or, in a clone, "
            "pip install --constraint constraints.txt '.[ray]'"
        )
