"""Make a release: version, changelog section, sdist and wheel tested in a clean environment, tag.

`make release VERSION=0.2.0` runs it. It changes nothing outside the repository: pushing the tag and
uploading the files are left to the maintainer. If a step fails, the changed files are restored.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CHANGELOG = Path("CHANGELOG.md")
VERSION_FILE = Path("src/reelsense/__init__.py")
CONTRACT = Path("docs/openapi.json")
"""The OpenAPI document, which states the version."""

_VERSION = re.compile(r'^__version__ = "(.*)"$', re.MULTILINE)
_UNRELEASED = "## [Unreleased]"
_STARTUP_SECONDS = 60


class ReleaseError(Exception):
    """The release cannot be made; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Files:
    """The files of a release."""

    sdist: Path
    wheel: Path


def parse_version(text: str) -> tuple[int, int, int]:
    """Return the three numbers of a version.

    Raises:
        ReleaseError: `text` is not of the form X.Y.Z.
    """
    if not re.fullmatch(r"(0|[1-9]\d*)(\.(0|[1-9]\d*)){2}", text, re.ASCII):
        raise ReleaseError(f"invalid version {text!r}: expected X.Y.Z, for example 0.2.0")
    major, minor, patch = map(int, text.split("."))
    return major, minor, patch


def release_section(changelog: str, version: str, today: date) -> str:
    """Return `changelog` with the unreleased changes as the section of `version`.

    An empty section [Unreleased] stays above it. A changelog that already has a section of
    `version` with a date is returned unchanged.

    Args:
        changelog: The text of CHANGELOG.md, in the format of Keep a Changelog.
        version: The version to release, X.Y.Z.
        today: The date of the release.

    Raises:
        ReleaseError: There are no changes to release, or both sections have some.
    """
    unreleased = _section(changelog, _UNRELEASED)
    if re.search(rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$", changelog, re.MULTILINE):
        if unreleased:
            raise ReleaseError(
                f"{CHANGELOG} has changes in [Unreleased] and a section [{version}]: merge them"
            )
        return changelog
    if not unreleased:
        raise ReleaseError(
            f"{CHANGELOG} has no changes in [Unreleased]: describe the release there"
        )
    return changelog.replace(
        f"{_UNRELEASED}\n", f"{_UNRELEASED}\n\n## [{version}] - {today.isoformat()}\n", 1
    )


def _section(changelog: str, heading: str) -> str:
    """Return the text between `heading` and the next heading of its level."""
    _, _, after = changelog.partition(f"{heading}\n")
    return re.split(r"^## ", after, maxsplit=1, flags=re.MULTILINE)[0].strip()


def replace_version(module: str, version: str) -> str:
    """Return the source text `module` with `__version__` set to `version`.

    Raises:
        ReleaseError: The new version is lower than the current one, or there is none.
    """
    current = _VERSION.search(module)
    if current is None:
        raise ReleaseError(f"{VERSION_FILE} does not set __version__")
    if parse_version(version) < parse_version(current[1]):
        raise ReleaseError(f"version {version} is lower than the current version {current[1]}")
    return _VERSION.sub(f'__version__ = "{version}"', module, count=1)


def check_repository(root: Path, version: str) -> None:
    """Raise ReleaseError if `root` has uncommitted changes or the tag of `version`."""
    if changes := _output(root, "git", "status", "--porcelain"):
        raise ReleaseError(f"uncommitted changes: commit or stash them\n{changes}")
    if _output(root, "git", "tag", "--list", f"v{version}"):
        raise ReleaseError(f"tag v{version} exists: choose another version")


def set_version(root: Path, version: str, today: date) -> None:
    """Write `version` to the changelog, the package and the OpenAPI document.

    Raises:
        ReleaseError: See `release_section` and `replace_version`. No file is changed then.
    """
    changelog, module = root / CHANGELOG, root / VERSION_FILE
    new_changelog = release_section(changelog.read_text(), version, today)
    new_module = replace_version(module.read_text(), version)
    contract = json.loads((root / CONTRACT).read_text())
    contract["info"]["version"] = version
    changelog.write_text(new_changelog)
    module.write_text(new_module)
    (root / CONTRACT).write_text(json.dumps(contract, indent=2) + "\n")


def build(root: Path, version: str) -> Files:
    """Build the sdist, and the wheel from it, into dist/."""
    files = Files(
        root / "dist" / f"reelsense-{version}.tar.gz",
        root / "dist" / f"reelsense-{version}-py3-none-any.whl",
    )
    _run(root, sys.executable, "-m", "build", "--outdir", "dist")
    for file in (files.sdist, files.wheel):
        if not file.exists():
            raise ReleaseError(f"the build did not write {file.relative_to(root)}")
    return files


def smoke_test(root: Path, wheel: Path, version: str) -> None:
    """Run `wheel` with uvx, in a new environment: version, prediction, server.

    Raises:
        ReleaseError: Something does not work as expected.
    """
    options = ["--quiet", "--python", sys.executable, "--refresh-package", "reelsense"]
    constraints = ["--constraints", str(root / "constraints.txt")]
    command = ["uv", "tool", "run", "--isolated", *options, *constraints]
    command = [sys.executable, "-m", *command, "--from", f"{wheel}[serve]", "reelsense"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _expect(_output(folder, *command, "--version"), f"version {version}")
        _expect(_output(folder, *command, "predict", "A joy from start to end."), "positive")
        with _server(command, folder) as address:
            wait_for_health(address)


def _expect(output: str, part: str) -> None:
    if part not in output:
        raise ReleaseError(f"the installed package printed {output!r}: expected {part!r}")


@contextmanager
def _server(command: Sequence[str], folder: Path) -> Iterator[str]:
    """Run `reelsense serve` on a free port; yields its address."""
    process = subprocess.Popen(
        [*command, "serve", "--port", "0", f"--database=sqlite:///{folder}/jobs.db"],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stdout.readline() if process.stdout else ""
        address = re.search(r"http://\S+", line)
        if address is None:
            raise ReleaseError(f"`reelsense serve` printed {line!r}: expected its address")
        yield address[0]
    finally:
        process.terminate()
        process.communicate(timeout=_STARTUP_SECONDS)


def wait_for_health(address: str, seconds: float = _STARTUP_SECONDS) -> None:
    """Return once /healthz of the server at `address` answers 200.

    Raises:
        ReleaseError: It does not do so within `seconds`.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(f"{address}/healthz", timeout=5):  # noqa: S310  # http:// of this machine
                return
        except (urllib.error.URLError, OSError) as error:
            if time.monotonic() > deadline:
                raise ReleaseError(f"{address}/healthz did not answer 200: {error}") from error
        time.sleep(0.1)


def commit_and_tag(root: Path, version: str) -> None:
    """Commit the changed files, if any changed, and tag the commit."""
    if _output(root, "git", "status", "--porcelain"):
        _run(root, "git", "commit", "--all", "--quiet", "--message", f"Version {version}")
    _run(root, "git", "tag", "--annotate", f"v{version}", "--message", f"reelsense {version}")


def release(root: Path, version: str, *, dry_run: bool = False) -> Files:
    """Make the release `version` of the repository at `root`.

    Args:
        root: The repository.
        version: The version to release, X.Y.Z.
        dry_run: Build and test the files, then restore the repository instead of committing.

    Returns:
        The files that were built and tested.

    Raises:
        ReleaseError: The release cannot be made.
    """
    parse_version(version)
    check_repository(root, version)
    try:
        set_version(root, version, datetime.now(UTC).date())
        files = build(root, version)
        smoke_test(root, files.wheel, version)
    except BaseException:
        _restore(root)
        raise
    if dry_run:
        _restore(root)
    else:
        commit_and_tag(root, version)
    return files


def _restore(root: Path) -> None:
    _run(root, "git", "checkout", "--quiet", "--", *map(str, (CHANGELOG, VERSION_FILE, CONTRACT)))


def _run(root: Path, *command: str) -> None:
    if (code := subprocess.run(command, cwd=root, check=False).returncode) != 0:
        raise ReleaseError(f"`{' '.join(command)}` failed with exit code {code}")


def _output(root: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=root, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise ReleaseError(f"`{' '.join(command)}` failed with exit code {done.returncode}")
    return done.stdout.strip()


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("version", help="the version to release, for example 0.2.0")
    parser.add_argument(
        "--dry-run", action="store_true", help="build and test, but do not commit or tag"
    )
    options = parser.parse_args()
    try:
        files = release(ROOT, options.version, dry_run=options.dry_run)
    except ReleaseError as error:
        sys.exit(f"release: {error}")
    print(f"built and tested {files.sdist.name} and {files.wheel.name} in dist/")
    if not options.dry_run:
        print(f"tagged v{options.version}; to publish: git push --follow-tags, upload dist/")


if __name__ == "__main__":
    main()
