import importlib
import importlib.util
from importlib.machinery import ModuleSpec

import pytest

import reelsense.training
from reelsense.errors import MissingExtraError


def test_a_missing_extra_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_torch(name: str) -> ModuleSpec | None:
        return None if name == "torch" else ModuleSpec(name, None)

    monkeypatch.setattr(importlib.util, "find_spec", without_torch)
    with pytest.raises(MissingExtraError, match=r"needs torch.*pip install 'reelsense\[train\]'"):
        importlib.reload(reelsense.training)
