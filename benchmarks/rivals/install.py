"""Make the rivals' virtual environments: `python benchmarks/rivals/install.py [ENV ...]`.

An environment is made anew where its requirements have changed since. PyTorch is pinned to one
version in all of them, because another one may bring gigabytes of CUDA.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

RIVALS = Path(__file__).resolve().parent
REQUIREMENTS = RIVALS / "requirements"
DEFAULT_FOLDER = RIVALS.parents[1] / "build" / "rivals"

_STAMP = "requirements.sha256"


def available() -> list[str]:
    """Return the names of the environments that can be made."""
    return sorted(path.stem for path in REQUIREMENTS.glob("*.txt"))


def installed(name: str, into: Path) -> bool:
    """Say whether the environment `name` is complete and as its requirements want it."""
    stamp = into / name / _STAMP
    return stamp.is_file() and stamp.read_text().strip() == _digest(name)


def install(name: str, into: Path) -> None:
    """Make the environment `name` in the folder `into`, unless it is there already.

    Raises CalledProcessError where that fails; what is left of it counts as not installed.
    """
    if installed(name, into):
        return
    folder = into / name
    shutil.rmtree(folder, ignore_errors=True)
    _run(sys.executable, "-m", "venv", folder)
    pip = (folder / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "--quiet")
    _run(*pip, "install", "--requirement", REQUIREMENTS / f"{name}.txt")
    (folder / _STAMP).write_text(_digest(name) + "\n")  # last: it says that all went well


def size_mb(folder: Path) -> int:
    """Return the megabytes that `folder` takes on the disk, as `du -sm` does."""
    blocks = {}
    for path in (folder, *folder.rglob("*")):
        status = path.lstat()
        blocks[status.st_dev, status.st_ino] = status.st_blocks  # hard links count once
    return -(-sum(blocks.values()) * 512 // 2**20)


def main() -> int:
    """Make the environments asked for; return 1 if one of them failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("environments", nargs="*", metavar="ENV", help="default: all")
    parser.add_argument("--into", type=Path, default=DEFAULT_FOLDER, help="default: %(default)s")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.environments) - set(available()))
    if unknown:
        parser.error(f"no requirements for {', '.join(unknown)}; there are {available()}")
    failed = False
    for name in arguments.environments or available():
        try:
            install(name, arguments.into)
        except subprocess.CalledProcessError as error:
            print(f"{name}: failed\n{(error.stderr or '').strip()}", file=sys.stderr, flush=True)
            failed = True
        else:
            print(f"{name}: {size_mb(arguments.into / name)} MB", flush=True)
    return int(failed)


def _digest(name: str) -> str:
    """Return the sha256 of the requirements of `name`."""
    return hashlib.sha256((REQUIREMENTS / f"{name}.txt").read_bytes()).hexdigest()


def _run(*command: str | Path) -> None:
    """Run `command`, its output kept for the error."""
    subprocess.run(  # noqa: S603 - our own command, from this file
        [str(part) for part in command], check=True, capture_output=True, text=True
    )


if __name__ == "__main__":
    sys.exit(main())
