"""A cascade of two tiny models on disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from reelsense.bundle import Bundle, Cascade, Manifest, read_bundle, write_bundle
from tests import any_labels

# The first model knows fewer words.
FIRST = {"negative": ["bad", "awful"], "positive": ["good", "great"]}
SECOND = {"negative": ["bad", "awful", "dull"], "positive": ["good", "great", "moving"]}


def write(folder: Path, threshold: float = 0.9) -> Bundle:
    """Write two models, named after their versions, and a cascade of them. Return the latter."""
    models = []
    for name, words in (("first", FIRST), ("second", SECOND)):
        bundle = any_labels.bundle(words, name=name)
        manifest = write_bundle(folder / name, bundle)
        (folder / name).rename(folder / manifest.version)
        models.append(read_bundle(folder / manifest.version))
    first, second = models
    references = first.reference("first"), second.reference("second")
    manifest = Manifest(
        name="both",
        labels=first.manifest.labels,
        window=64,
        cascade=Cascade(models=references, threshold=threshold),
    )
    bundle = Bundle(manifest, b"", "", "# both\n", models=(first, second))
    return replace(bundle, manifest=write_bundle(folder / "cascade", bundle))
