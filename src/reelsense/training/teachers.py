"""Teachers of distillation, and the file that stores their logits.

Every text is scored once. Its logits are stored in float16 under a hash of the text, so that a
student can be trained again without the teacher, and interrupted scoring can be resumed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from reelsense.errors import TrainingError
from reelsense.evaluation.baseline import BagOfWordsModel
from reelsense.files import atomic_bytes
from reelsense.inference.classifier import Classifier

Teacher = Classifier | BagOfWordsModel

_BATCH_SIZE = 256
_SAVE_EVERY = 4096  # texts


@dataclass
class LogitStore:
    """Teacher logits by text."""

    labels: tuple[str, ...]
    ratings: tuple[int, ...] = ()
    teachers: tuple[str, ...] = ()  # names of the models that computed the logits
    rows: dict[int, NDArray[np.float16]] = field(default_factory=dict)  # by `_hash` of the text

    def get(self, text: str) -> tuple[float, ...]:
        """Return the logits (labels + ratings) of `text`; () if there are none."""
        row = self.rows.get(_hash(text))
        return () if row is None else tuple(row.tolist())

    def missing(self, texts: Sequence[str]) -> list[str]:
        """Return the texts without logits, each once."""
        return [text for text in dict.fromkeys(texts) if _hash(text) not in self.rows]

    def add(self, texts: Sequence[str], logits: NDArray[np.float64]) -> None:
        """Store `logits` (texts, labels + ratings)."""
        for text, row in zip(texts, logits.astype(np.float16), strict=True):
            self.rows[_hash(text)] = row

    def write(self, path: Path) -> None:
        """Write a compressed .npz file, atomically and sorted by the hashes of the texts.

        Arrays: `keys` (n) uint64, `logits` (n, labels + ratings) float16, `about` (JSON).
        """
        keys = np.array(sorted(self.rows), dtype=np.uint64)
        outputs = len(self.labels) + len(self.ratings)
        logits = np.array([self.rows[int(key)] for key in keys], np.float16).reshape(-1, outputs)
        about = {"labels": self.labels, "ratings": self.ratings, "teachers": self.teachers}
        with atomic_bytes(path) as file:
            np.savez_compressed(file, keys=keys, logits=logits, about=np.array(json.dumps(about)))


def _hash(text: str) -> int:
    """Return the first 64 bits of the SHA-256 of `text`."""
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big")


def read_logits(path: Path) -> LogitStore:
    """Read a file that `LogitStore.write` made. Raises TrainingError if it is damaged."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            rows = dict(zip(arrays["keys"].tolist(), arrays["logits"], strict=True))
            about = json.loads(str(arrays["about"]))
        labels, ratings, teachers = (
            tuple(about[name]) for name in ("labels", "ratings", "teachers")
        )
    except FileNotFoundError as error:
        raise TrainingError(
            f"{path} does not exist: expected a file of teacher logits", code="no-teacher-logits"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
        raise TrainingError(
            f"{path} is not a file of teacher logits: {error}", code="invalid-teacher-logits"
        ) from error
    return LogitStore(labels, ratings, teachers, rows)


def score_missing(
    store: LogitStore, teachers: Sequence[Teacher], texts: Sequence[str], path: Path | None = None
) -> None:
    """Add to `store` the logits of the `texts` that it lacks: the mean over the teachers.

    That of star ratings is the mean over the teachers that predict them. The store is saved to
    `path` every few thousand texts and at the end. Raises TrainingError if there is no teacher, or
    if they predict different ratings.
    """
    missing = store.missing(texts)
    if not missing:
        return
    if not teachers:
        raise TrainingError(
            f"{len(missing):,} texts have no teacher logits: add teachers to the recipe",
            code="no-teacher",
        )
    store.ratings = _common_ratings(teachers)
    with tqdm(total=len(missing), desc="teacher", unit=" texts") as bar:
        for start in range(0, len(missing), _BATCH_SIZE):
            batch = missing[start : start + _BATCH_SIZE]
            store.add(batch, _mean_logits(teachers, batch))
            bar.update(len(batch))
            if path and start // _SAVE_EVERY != (start + _BATCH_SIZE) // _SAVE_EVERY:
                store.write(path)
    if path:
        store.write(path)


def _common_ratings(teachers: Sequence[Teacher]) -> tuple[int, ...]:
    """Return the star ratings that teachers predict; () if none does."""
    classifiers = [teacher for teacher in teachers if isinstance(teacher, Classifier)]
    all_ratings = {teacher.manifest.ratings for teacher in classifiers} - {()}
    if len(all_ratings) > 1:
        raise TrainingError(
            f"the teachers predict different star ratings: {sorted(all_ratings)}",
            code="ratings-differ",
        )
    return next(iter(all_ratings), ())


def check_labels(name: str, labels: Sequence[str], expected: Sequence[str]) -> None:
    """Raise TrainingError if `labels` are not the `expected` ones, those of the data."""
    if tuple(labels) != tuple(expected):
        raise TrainingError(
            f"{name} has the labels {list(labels)}: expected those of the data, {list(expected)}",
            code="labels-differ",
        )


def _mean_logits(teachers: Sequence[Teacher], texts: Sequence[str]) -> NDArray[np.float64]:
    """Return logits (texts, labels + ratings), before calibration."""
    label_logits, star_logits = [], []
    for teacher in teachers:
        if isinstance(teacher, Classifier):
            scored = teacher.score(texts)
            label_logits.append(scored.logits)
            if scored.stars is not None:
                star_logits.append(scored.star_logits)
        else:
            label_logits.append(np.log(np.maximum(teacher.predict_proba(texts), 1e-6)))
    means = [np.mean(tables, axis=0) for tables in (label_logits, star_logits) if tables]
    return np.concatenate(means, axis=1)
