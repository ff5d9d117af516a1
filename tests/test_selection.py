"""The command line selects which tests of a folder run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import pytest

@pytest.mark.slow
def test_slow(): ...

def test_quick(): ...
"""


@pytest.mark.parametrize(
    ("arguments", "passed"),
    [
        (["."], {"a::quick", "b::quick"}),
        (["test_a.py", "-n1"], {"a::quick", "a::slow"}),
        ([".", "test_a.py::test_slow"], {"a::quick", "a::slow", "b::quick"}),
        (["-m", "slow"], {"a::slow", "b::slow"}),
        (["test_a.py", "-m", "not slow"], {"a::quick"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_slow_tests_run_when_named(tmp_path: Path, arguments: list[str], passed: set[str]) -> None:
    shutil.copy(Path(__file__).with_name("conftest.py"), tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = slow\n")
    for name in ("test_a.py", "test_b.py"):
        (tmp_path / name).write_text(TESTS)
    options = ["-rA", "-p", "no:cacheprovider", "-p", "xdist"]
    outside = {name: value for name, value in os.environ.items() if "PYTEST" not in name}
    outside["PYTHONPATH"] = str(Path(__file__).parents[1])  # conftest.py imports `tests`
    outside["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # other plugins take seconds to import
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "pytest", *options, *arguments],
        cwd=tmp_path,
        env=outside,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout
    lines = [line for line in done.stdout.splitlines() if line.startswith("PASSED ")]
    assert {
        line.removeprefix("PASSED test_").replace(".py::test_", "::") for line in lines
    } == passed
