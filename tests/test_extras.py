import importlib
import importlib.util
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

import reelsense
from reelsense import hub
from reelsense.errors import MissingExtraError


@pytest.mark.parametrize(
    ("package", "missing", "extra"),
    [
        ("reelsense.cluster", "ray", "ray"),
        ("reelsense.evaluation", "cleanlab", "eval"),
        ("reelsense.integrations.mcp", "mcp", "mcp"),
        ("reelsense.integrations.sklearn", "sklearn", "sklearn"),
        ("reelsense.server", "flask", "serve"),
        ("reelsense.training", "torch", "train"),
    ],
)
def test_missing_extra_names_the_pip_command(
    package: str, missing: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if package == "reelsense.cluster":
        pytest.importorskip("ray")
        pytest.importorskip("a2wsgi")
    if package == "reelsense.integrations.mcp":
        pytest.importorskip("mcp")
    loaded = importlib.import_module(package)

    def find_all_but_missing(name: str) -> ModuleSpec | None:
        return None if name == missing else ModuleSpec(name, None)

    monkeypatch.setattr(importlib.util, "find_spec", find_all_but_missing)
    command = rf"needs {missing}.*pip install 'reelsense\[{extra}\]'"
    with pytest.raises(MissingExtraError, match=command) as raised:
        importlib.reload(loaded)
    assert raised.value.code == "missing-extra"


def test_hub_needs_its_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'reelsense\[hub\]'"):
        hub.pull("team/model", tmp_path)


def test_package_exports_its_public_names_lazily() -> None:
    code = (
        "import sys, reelsense; assert 'numpy' not in sys.modules; "
        "from reelsense import *; assert Classifier and Explanation and Prediction; "
        "assert not {'emoji', 'flask', 'pydantic', 'sqlalchemy', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603  # the code above
    with pytest.raises(AttributeError):
        reelsense.no_such_name  # noqa: B018
