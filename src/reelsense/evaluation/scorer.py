"""What evaluation judges: anything that gives texts probabilities over its labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from reelsense.errors import TextError

_STEP = 256
"""Texts scored between two moves of the progress bar."""


class Scorer(Protocol):
    """A classifier as evaluation sees it; `reelsense.Classifier` is one."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the columns of `predict_proba`."""
        ...

    def predict_proba(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return the probabilities of `texts`, (texts, labels)."""
        ...


def score(scorer: Scorer, texts: Sequence[str], title: str = "scoring") -> NDArray[np.float64]:
    """Return what `scorer` says of `texts`, (texts, labels), showing progress as `title`.

    Raises TextError, counting from the first of `texts`, if one cannot be read.
    """
    parts = [np.empty((0, len(scorer.labels)))]
    with tqdm(total=len(texts), unit=" reviews", desc=title) as bar:
        for start in range(0, len(texts), _STEP):
            try:
                parts.append(scorer.predict_proba(texts[start : start + _STEP]))
            except TextError as error:
                raise TextError(start + error.position, error.reason) from error
            bar.update(len(parts[-1]))
    return np.concatenate(parts)
