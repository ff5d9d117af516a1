"""The package of the accurate model, built with a tiny bundle instead."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from reelsense.bundle import CARD, read_bundle
from tests import tiny_network
from tests.installed import ACCURATE

BUNDLE = Path("src") / "reelsense_accurate" / "bundle"

needs_hatchling = pytest.mark.skipif(
    subprocess.run([sys.executable, "-c", "import hatchling"], check=False).returncode != 0,
    reason="needs hatchling",
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Copy the project of the package, without a bundle."""
    project = tmp_path / "accurate"
    shutil.copytree(ACCURATE, project, ignore=shutil.ignore_patterns(BUNDLE.name))
    return project


def install(project: Path) -> subprocess.CompletedProcess[str]:
    """Install `project` into the folder `site` beside it, offline."""
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target"]
    command = [sys.executable, "-m", "pip", "install", *options]
    return subprocess.run(  # noqa: S603
        [*command, str(project.parent / "site"), str(project)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@needs_hatchling
def test_installed_package_registers_its_model(project: Path) -> None:
    tiny_network.write(project / BUNDLE, "stand-in")
    done = install(project)
    assert done.returncode == 0, done.stderr
    path = os.pathsep.join([str(project.parent / "site"), os.environ.get("PYTHONPATH", "")])

    def run(*arguments: str) -> str:
        return subprocess.run(  # noqa: S603
            [sys.executable, "-m", "reelsense", *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
            env=os.environ | {"PYTHONPATH": path},
        ).stdout

    models = {model["name"]: model for model in json.loads(run("models", "--json"))}
    folder = project.parent / "site" / "reelsense_accurate" / "bundle"
    assert models["accurate"]["folder"] == str(folder)
    assert models["accurate"]["model"] == "stand-in"
    assert run("predict", "--model", "accurate", "a good film").startswith("positive")


@needs_hatchling
def test_build_without_a_bundle_names_the_missing_file(project: Path) -> None:
    done = install(project)
    assert done.returncode != 0
    assert f"{BUNDLE / 'manifest.json'} is missing" in done.stderr


@needs_hatchling
def test_build_with_a_damaged_bundle_names_the_file(project: Path) -> None:
    tiny_network.write(project / BUNDLE, "stand-in")
    with (project / BUNDLE / CARD).open("a") as card:
        card.write("!")
    done = install(project)
    assert done.returncode != 0
    assert f"{BUNDLE / CARD} is damaged" in done.stderr


def test_main_package_does_not_contain_other_models() -> None:
    root = ACCURATE.parents[1]
    targets = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    assert targets["targets"]["wheel"] == {"packages": ["src/reelsense"]}
    assert not any("models" in path for path in targets["targets"]["sdist"]["include"])
    assert not (root / "src" / "reelsense" / "models" / "accurate").exists()


@pytest.mark.skipif(not (ACCURATE / BUNDLE).exists(), reason="the model is not trained yet")
def test_accurate_bundle_is_valid_and_below_the_size_limit() -> None:
    read_bundle(ACCURATE / BUNDLE)
    sizes = [path.stat().st_size for path in (ACCURATE / BUNDLE).iterdir()]
    assert max(sizes) <= 95e6
    assert sum(sizes) <= 115e6
