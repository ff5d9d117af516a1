"""Build hook: fails if the bundle of this package is missing, incomplete or damaged."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

BUNDLE = Path("src/reelsense_accurate/bundle")


class VerifyBundle(BuildHookInterface):
    """Compares the files of the bundle with the SHA-256 digests of its manifest."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Raise FileNotFoundError or ValueError with the name of the wrong file."""
        del version, build_data  # every build is the same
        folder = Path(self.root) / BUNDLE
        manifest = folder / "manifest.json"
        if not manifest.exists():
            raise FileNotFoundError(
                f"{manifest} is missing: write the bundle with "
                f"reelsense export CHECKPOINT --data DATA --output {folder}"
            )
        for name, expected in json.loads(manifest.read_text(encoding="utf-8"))["files"].items():
            with (folder / name).open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != expected:
                    raise ValueError(
                        f"{folder / name} is damaged: its SHA-256 differs from manifest.json"
                    )
