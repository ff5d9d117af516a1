"""Rows of texts that do not exist."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from reelsense.bundle import Manifest
from reelsense.drift.profile import ROW, Rows
from reelsense.prediction import EMBEDDING_SIZE
from tests import tiny

MANIFEST: Manifest = replace(tiny.bundle().manifest, risk_control=tiny.RISKS)


def make_rows(
    count: int,
    seed: int = 0,
    *,
    positive: float = 0.5,
    length: float = 200,
    language: bytes = b"en",
    shift: float = 0,
    spread: float = 1,
) -> Rows:
    """Return rows of usual reviews, or with one property changed."""
    random = np.random.default_rng(seed)
    rows = np.zeros(count, ROW)
    rows["tokens"] = np.maximum(1, random.lognormal(np.log(length), 0.5, count))
    rows["confidence"] = np.round(random.beta(9, 1, count) / 2 + 0.5, 4)
    rows["label"] = random.random(count) < positive
    rows["unsure"] = rows["confidence"] < 0.9
    rows["language"] = language
    rows["embedding"] = random.normal(shift, spread, (count, EMBEDDING_SIZE))
    return rows
