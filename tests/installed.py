"""Packages that register models, as pip would install them."""

from __future__ import annotations

import tomllib
from pathlib import Path

from reelsense.bundle.installed import GROUP

ACCURATE = Path(__file__).parents[1] / "models" / "accurate"


def install(site: Path, entry_points: dict[str, str] | None = None) -> Path:
    """Install a stand-in for `reelsense-accurate` into `site`; return the folder for its bundle.

    It registers `entry_points`, by default those of the real package.
    """
    project = tomllib.loads((ACCURATE / "pyproject.toml").read_text())["project"]
    if entry_points is None:
        entry_points = project["entry-points"][GROUP]
    about = site / "reelsense_accurate-0.1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {project['name']}\nVersion: 0\n")
    lines = [f"[{GROUP}]", *(f"{name} = {value}" for name, value in entry_points.items())]
    (about / "entry_points.txt").write_text("\n".join(lines) + "\n")
    package = site / "reelsense_accurate"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('must be located, not imported')\n")
    return package / "bundle"
