"""A directory of model versions: immutable bundles, two aliases and a record of decisions.

    2e54a2303a88/     a bundle, named after its version
    champion          link to the version in use, which `reelsense serve --models` follows
    challenger        link to the version that may replace it
    decisions.jsonl   one line per change of the champion, and per rejected one

Does not know how versions are compared.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from reelsense.bundle import MANIFEST, Bundle, content_version, read_bundle, write_bundle
from reelsense.errors import BundleError, ModelDirectoryError
from reelsense.files import read_text
from reelsense.registry import InstalledModel

CHAMPION, CHALLENGER = "champion", "challenger"
ALIASES = (CHAMPION, CHALLENGER)
DECISIONS = "decisions.jsonl"
PROMOTE, ROLLBACK = "promote", "rollback"

_VERSION = re.compile(r"[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class ModelDirectory:
    """The versions in the folder `path`. Several processes may change it at the same time."""

    path: Path

    def versions(self) -> list[str]:
        """Return the versions, the oldest first. Raises ModelDirectoryError without a folder."""
        if not self.path.is_dir():
            raise ModelDirectoryError(
                f"{self.path} is not a directory of models: create it with `reelsense models add`",
                code="no-model-directory",
            )
        folders = [path for path in self.path.iterdir() if _VERSION.fullmatch(path.name)]
        return [path.name for path in sorted(folders, key=_time_added)]

    def models(self) -> list[InstalledModel]:
        """Return all versions, verified, the oldest first."""
        return [self.load(version) for version in self.versions()]

    def load(self, version: str) -> InstalledModel:
        """Return a version, verified. Does not raise if it is damaged."""
        folder = self.path / version
        try:
            return InstalledModel(version, folder, self.read(version))
        except BundleError as error:
            return InstalledModel(version, folder, None, str(error))

    def aliases(self) -> dict[str, str]:
        """Return the version of each alias that is set."""
        links = {alias: self.path / alias for alias in ALIASES}
        return {alias: link.readlink().name for alias, link in links.items() if link.is_symlink()}

    def aliases_of(self, version: str) -> list[str]:
        """Return the aliases that refer to `version`."""
        return [alias for alias, target in self.aliases().items() if target == version]

    def find(self, name: str) -> str:
        """Return the version that `name`, a version or an alias, refers to.

        Raises:
            ModelDirectoryError: None (code `no-such-version`).
        """
        versions, aliases = self.versions(), self.aliases()
        version = aliases.get(name, name)
        if version not in versions:
            known = ", ".join([*aliases, *versions]) or "none, add one with `reelsense models add`"
            raise ModelDirectoryError(
                f'unknown version "{name}" of {self.path}: expected one of {known}',
                code="no-such-version",
            )
        return version

    def folder(self, name: str) -> Path:
        """Return the folder of a version or an alias, which may not exist yet.

        Raises:
            ModelDirectoryError: `name` can be neither (code `no-such-version`).
        """
        if name not in ALIASES and not _VERSION.fullmatch(name):
            raise ModelDirectoryError(
                f'"{name}" is not the name of a version of {self.path}: expected 12 hexadecimal '
                f"digits or an alias, {' or '.join(ALIASES)}",
                code="no-such-version",
            )
        return self.path / name

    def read(self, version: str) -> Bundle:
        """Read and verify a version. Raises BundleError as `read_bundle`, or if it was replaced."""
        folder = self.path / version
        bundle = read_bundle(folder)
        network = [folder / name for name in bundle.network_files]
        if (content := content_version(bundle.manifest, network)) != version:
            raise BundleError(
                f"{folder} contains version {content}: versions must not be replaced; remove it, "
                "and add the bundle again",
                code="version-changed",
            )
        return bundle

    def add(self, folder: Path, alias: str | None = None) -> str:
        """Copy the bundle in `folder`, let `alias` refer to it, and return its version.

        Nothing is copied if the directory contains it already.

        Raises:
            BundleError: `folder` is not a valid bundle.
            ModelDirectoryError: It differs from the bundle of the same version in its card or
                evaluation (code `version-exists`).
        """
        bundle = read_bundle(folder)
        self.path.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".new-", dir=self.path) as temporary, self._locked():
            new = Path(temporary) / "bundle"
            manifest = write_bundle(new, bundle)  # which computes the version
            target = self.path / manifest.version
            if not target.exists():
                new.rename(target)
            elif self.read(manifest.version).manifest.files != manifest.files:
                raise ModelDirectoryError(
                    f"{self.path} contains version {manifest.version} with another card or "
                    "evaluation: remove that version first",
                    code="version-exists",
                )
            if alias:
                self._point(alias, manifest.version)
        return manifest.version

    def remove(self, version: str) -> None:
        """Delete a version.

        Raises:
            ModelDirectoryError: An alias or the next rollback needs it (code `version-in-use`).
        """
        with TemporaryDirectory(prefix=".removed-", dir=self.path) as removed, self._locked():
            used_as = self.aliases_of(version)
            if version == self.previous_champion():
                used_as.append("target of the next rollback")
            if used_as:
                raise ModelDirectoryError(
                    f"version {version} is the {' and the '.join(used_as)} of {self.path}: "
                    "expected a version that no alias and no rollback needs",
                    code="version-in-use",
                )
            (self.path / version).rename(Path(removed) / version)

    def promote(
        self, version: str, expected: str | None, details: Mapping[str, Any], *, accepted: bool
    ) -> None:
        """Record the decision on `version` with its `details`; make it the champion if `accepted`.

        Raises:
            ModelDirectoryError: The champion is no longer the `expected` one, with which `version`
                was compared (code `champion-changed`), or `version` was removed.
        """
        with self._locked():
            self.find(version)
            champion = self.aliases().get(CHAMPION)
            if champion != expected:
                raise ModelDirectoryError(
                    f"the champion of {self.path} changed from {expected} to {champion} in the "
                    "meantime: compare again",
                    code="champion-changed",
                )
            self._record(PROMOTE, champion, version, {"accepted": accepted, **details})
            if accepted:
                self._point(CHAMPION, version)
                if self.aliases().get(CHALLENGER) == version:
                    (self.path / CHALLENGER).unlink()

    def rollback(self) -> str:
        """Make the previous champion the champion again, record that, and return its version.

        Raises:
            ModelDirectoryError: There is none (code `no-previous-champion`).
        """
        self.versions()
        with self._locked():
            previous = self.previous_champion()
            if previous is None:
                raise ModelDirectoryError(
                    f"{self.path} has no earlier champion to return to: promote a version with "
                    "`reelsense models promote`",
                    code="no-previous-champion",
                )
            self._record(ROLLBACK, self.aliases().get(CHAMPION), previous, {})
            self._point(CHAMPION, previous)
        return previous

    def previous_champion(self) -> str | None:
        """Return the version that a rollback returns to."""
        earlier: list[str] = []
        for decision in self.decisions():
            if decision["action"] == ROLLBACK:
                while earlier and earlier.pop() != decision["version"]:
                    pass
            elif decision["accepted"] and decision["champion"]:
                earlier.append(decision["champion"])
        # A process that died between record and change leaves the champion itself in the list.
        champion, versions = self.aliases().get(CHAMPION), self.versions()
        remaining = [name for name in earlier if name != champion and name in versions]
        return remaining[-1] if remaining else None

    def decisions(self) -> list[dict[str, Any]]:
        """Return the recorded decisions, the oldest first."""
        path = self.path / DECISIONS
        if not path.exists():
            return []
        lines = read_text(path, ModelDirectoryError).splitlines()
        try:
            return [json.loads(line) for line in lines]
        except ValueError as error:
            raise ModelDirectoryError(
                f"{path} contains a line that is not JSON: {error}: correct or delete that line",
                code="invalid-decisions",
            ) from error

    def _record(
        self, action: str, champion: str | None, version: str, details: Mapping[str, Any]
    ) -> None:
        time = datetime.now(UTC).isoformat(timespec="seconds")
        content = {"time": time, "action": action, "champion": champion, "version": version}
        with (self.path / DECISIONS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(content | dict(details)) + "\n")

    def _point(self, alias: str, version: str) -> None:
        new = self.path / f".{alias}.new"
        new.unlink(missing_ok=True)
        new.symlink_to(version)
        new.replace(self.path / alias)  # atomically

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Wait until no other process changes the directory."""
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _time_added(folder: Path) -> tuple[float, str]:
    """Return when the bundle in `folder` was written, and its name."""
    manifest = folder / MANIFEST
    return manifest.stat().st_mtime if manifest.exists() else 0.0, folder.name
