import importlib
import importlib.util
from importlib.machinery import ModuleSpec

import pytest

from reelsense.errors import MissingExtraError


@pytest.mark.parametrize(
    ("package", "missing", "extra"),
    [
        ("reelsense.cluster", "ray", "ray"),
        ("reelsense.evaluation", "cleanlab", "eval"),
        ("reelsense.training", "torch", "train"),
    ],
)
def test_a_missing_extra_names_the_command(
    package: str, missing: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if package == "reelsense.cluster":
        pytest.importorskip("ray")
        pytest.importorskip("a2wsgi")
    loaded = importlib.import_module(package)

    def without_one(name: str) -> ModuleSpec | None:
        return None if name == missing else ModuleSpec(name, None)

    monkeypatch.setattr(importlib.util, "find_spec", without_one)
    command = rf"needs {missing}.*pip install 'reelsense\[{extra}\]'"
    with pytest.raises(MissingExtraError, match=command):
        importlib.reload(loaded)
