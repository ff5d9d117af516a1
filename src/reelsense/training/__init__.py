"""Fine-tuning and export. Needs the extra [train]; nothing else in reelsense imports PyTorch."""

from __future__ import annotations

from importlib.util import find_spec

from reelsense.errors import MissingExtraError

for _module in ("torch", "transformers", "accelerate"):
    if find_spec(_module) is None:
        raise MissingExtraError(
            f"this needs {_module}, which is not installed: pip install 'reelsense[train]', or in "
            "a clone: pip install --constraint constraints.txt '.[train]'"
        )
