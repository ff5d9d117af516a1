"""Teachers of distillation, and the file that stores their logits.

Every text is scored once. Its logits are stored in float16 under a hash of the text, so that a
student can be trained again without the teacher, and interrupted scoring can be resumed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from reelsense.errors import TrainingError
from reelsense.evaluation.scorer import Scorer
from reelsense.inference.classifier import Classifier

_BATCH_SIZE = 256
_SAVE_EVERY = 4096
"""Texts between two saves."""


class Teacher(Protocol):
    """A model whose logits a student is trained on."""

    def logits(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return logits (texts, labels), or (texts, labels + ratings)."""
        ...


class ClassifierTeacher:
    """A bundle as a teacher: the mean logits of the windows of each text, before calibration."""

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier

    def logits(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return logits (texts, labels + ratings)."""
        scored = self._classifier.score(texts)
        return np.concatenate([scored.logits, scored.star_logits], axis=1)


class ScorerTeacher:
    """A classifier that returns probabilities as a teacher, such as a bag of words."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    def logits(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return log-probabilities (texts, labels)."""
        return np.asarray(np.log(np.maximum(self._scorer.predict_proba(texts), 1e-6)))


@dataclass
class LogitStore:
    """Teacher logits by text."""

    labels: tuple[str, ...]
    ratings: tuple[int, ...] = ()
    teachers: tuple[str, ...] = ()
    """Names of the models that computed the logits, for information."""
    rows: dict[int, NDArray[np.float16]] = field(default_factory=dict)
    """Logits (labels + ratings) by `text_hash`."""

    def get(self, text: str) -> tuple[float, ...]:
        """Return the logits of `text`; () if there are none."""
        row = self.rows.get(text_hash(text))
        return () if row is None else tuple(row.tolist())

    def missing(self, texts: Sequence[str]) -> list[str]:
        """Return the texts without logits, each once."""
        return [text for text in dict.fromkeys(texts) if text_hash(text) not in self.rows]

    def add(self, texts: Sequence[str], logits: NDArray[np.float64]) -> None:
        """Store `logits` (texts, labels + ratings)."""
        for text, row in zip(texts, logits.astype(np.float16), strict=True):
            self.rows[text_hash(text)] = row

    def write(self, path: Path) -> None:
        """Write a compressed .npz file, atomically and sorted by the hashes of the texts.

        Arrays: `keys` (n) uint64, `logits` (n, labels + ratings) float16, `about` (JSON).
        """
        keys = np.array(sorted(self.rows), dtype=np.uint64)
        outputs = len(self.labels) + len(self.ratings)
        logits = np.array([self.rows[int(key)] for key in keys], np.float16).reshape(-1, outputs)
        about = {"labels": self.labels, "ratings": self.ratings, "teachers": self.teachers}
        temporary = path.with_name(f".{path.name}.part")
        with temporary.open("wb") as file:
            np.savez_compressed(file, keys=keys, logits=logits, about=np.array(json.dumps(about)))
        os.replace(temporary, path)


def text_hash(text: str) -> int:
    """Return the first 64 bits of the SHA-256 of `text`."""
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big")


def read_logits(path: Path) -> LogitStore:
    """Read a file that `LogitStore.write` made.

    Raises:
        TrainingError: It is missing or damaged.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            keys, logits = arrays["keys"], arrays["logits"]
            about = json.loads(str(arrays["about"]))
        labels, ratings, teachers = (
            tuple(about[name]) for name in ("labels", "ratings", "teachers")
        )
        store = LogitStore(labels, ratings, teachers)
        store.rows = dict(zip(keys.tolist(), logits, strict=True))
    except FileNotFoundError as error:
        raise TrainingError(
            f"{path} does not exist: expected a file of teacher logits", code="no-teacher-logits"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
        raise TrainingError(
            f"{path} is not a file of teacher logits: {error}", code="invalid-teacher-logits"
        ) from error
    return store


def score_missing(
    store: LogitStore, teachers: Sequence[Teacher], texts: Sequence[str], path: Path | None = None
) -> None:
    """Add to `store` the logits of the `texts` that it lacks.

    Args:
        store: Is extended.
        teachers: Their logits are averaged; those of star ratings over the teachers that have them.
        texts: Texts that need logits.
        path: Where to save the store every few thousand texts and at the end.

    Raises:
        TrainingError: Texts have no logits and there is no teacher.
    """
    missing = store.missing(texts)
    if not missing:
        return
    if not teachers:
        raise TrainingError(
            f"{len(missing):,} texts have no teacher logits: name teachers in the recipe",
            code="no-teacher",
        )
    with tqdm(total=len(missing), desc="teacher", unit=" texts") as bar:
        for start in range(0, len(missing), _BATCH_SIZE):
            batch = missing[start : start + _BATCH_SIZE]
            store.add(batch, _mean_logits([teacher.logits(batch) for teacher in teachers], store))
            bar.update(len(batch))
            if path and start // _SAVE_EVERY != (start + _BATCH_SIZE) // _SAVE_EVERY:
                store.write(path)
    if path:
        store.write(path)


def _mean_logits(tables: Sequence[NDArray[np.float64]], store: LogitStore) -> NDArray[np.float64]:
    labels = len(store.labels)
    label_logits = np.mean([table[:, :labels] for table in tables], axis=0)
    if not store.ratings:
        return np.asarray(label_logits)
    star_logits = [table[:, labels:] for table in tables if table.shape[1] > labels]
    return np.concatenate([label_logits, np.mean(star_logits, axis=0)], axis=1)
