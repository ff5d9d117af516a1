"""Make the virtual environments of reelsense and the other servers.

An environment is made again if its requirements have changed. All pin the same version of PyTorch,
because another one may install gigabytes of CUDA.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from reference import ROOT, digest

RIVALS = Path(__file__).resolve().parent
DEFAULT_FOLDER = ROOT / "build" / "rivals"

STAMP = "requirements.sha256"  # file in an environment with the digest of its requirements


def install(name: str, into: Path) -> None:
    """Make the environment `name` in the folder `into`, unless it is up to date.

    Raises CalledProcessError on failure; the next call starts again.
    """
    requirements = RIVALS / "requirements" / f"{name}.txt"
    requirements_hash = hashlib.sha256(requirements.read_bytes()).hexdigest()
    _make(into / name, f"{requirements_hash}\n", "--requirement", requirements)


def install_ours(folder: Path) -> None:
    """Install this checkout into the environment `folder`, as in the README."""
    constraints = ROOT / "constraints.txt"
    files = [path for path in (ROOT / "src").rglob("*") if path.is_file()]
    files = sorted(path for path in files if "__pycache__" not in path.parts)
    sources = digest(path.read_bytes() for path in [ROOT / "pyproject.toml", constraints, *files])
    _make(folder, sources, "--constraint", constraints, ROOT)


def size_mb(folder: Path) -> int:
    """Return the disk usage of `folder` in megabytes, as `du -sm` does."""
    blocks = {}
    for path in (folder, *folder.rglob("*")):
        status = path.lstat()
        blocks[status.st_dev, status.st_ino] = status.st_blocks  # hard links count once
    return -(-sum(blocks.values()) * 512 // 2**20)


def _make(folder: Path, requirements: str, *arguments: str | Path) -> None:
    stamp = folder / STAMP
    if stamp.exists() and stamp.read_text() == requirements:
        return
    shutil.rmtree(folder, ignore_errors=True)
    pip = (folder / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "--quiet")
    for command in ((sys.executable, "-m", "venv", folder), (*pip, "install", *arguments)):
        subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    stamp.write_text(requirements)  # last, because it marks a complete environment
