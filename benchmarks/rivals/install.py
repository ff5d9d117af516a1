"""Makes the virtual environments of the servers, ours and the rivals'.

One is made anew where what it was made from has changed since. PyTorch is pinned to one version in
all of them, because another one may bring gigabytes of CUDA.
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

STAMP = "requirements.sha256"
"""In an environment: what it was made from."""


def install(name: str, into: Path) -> None:
    """Make the rival's environment `name` in the folder `into`, unless it is there already.

    Raises CalledProcessError where that fails; what is left of it counts as not installed.
    """
    requirements = RIVALS / "requirements" / f"{name}.txt"
    made_from = hashlib.sha256(requirements.read_bytes()).hexdigest()
    _make(into / name, f"{made_from}\n", "--requirement", requirements)


def install_ours(folder: Path) -> None:
    """Install this checkout into `folder` as the README says, as install() does."""
    constraints = ROOT / "constraints.txt"
    files = [path for path in (ROOT / "src").rglob("*") if path.is_file()]
    files = sorted(path for path in files if "__pycache__" not in path.parts)
    made_from = digest(path.read_bytes() for path in [ROOT / "pyproject.toml", constraints, *files])
    _make(folder, made_from, "--constraint", constraints, ROOT)


def size_mb(folder: Path) -> int:
    """Return the megabytes that `folder` takes on the disk, as `du -sm` does."""
    blocks = {}
    for path in (folder, *folder.rglob("*")):
        status = path.lstat()
        blocks[status.st_dev, status.st_ino] = status.st_blocks  # hard links count once
    return -(-sum(blocks.values()) * 512 // 2**20)


def _make(folder: Path, made_from: str, *what: str | Path) -> None:
    stamp = folder / STAMP
    if stamp.exists() and stamp.read_text() == made_from:
        return
    shutil.rmtree(folder, ignore_errors=True)
    pip = (folder / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "--quiet")
    for command in ((sys.executable, "-m", "venv", folder), (*pip, "install", *what)):
        subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - our own
    stamp.write_text(made_from)  # last: it says that all went well
