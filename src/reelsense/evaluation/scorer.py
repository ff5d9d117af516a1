"""The classifier protocol of the evaluation: texts to probabilities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from reelsense.errors import TextError
from reelsense.prediction import ScoredTexts

_BATCH = 256  # texts per call, and per update of the progress bar

_Scores = TypeVar("_Scores")


class Scorer(Protocol):
    """A classifier that can be evaluated, such as `reelsense.Classifier`."""

    @property
    def labels(self) -> tuple[str, ...]:
        """In the order of the columns of `predict_proba`."""
        ...

    def predict_proba(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return the probabilities of `texts`, (texts, labels)."""
        ...


@runtime_checkable
class RatingScorer(Scorer, Protocol):
    """A scorer that counts tokens and may predict stars, such as `reelsense.Classifier`."""

    def score(self, texts: Sequence[str]) -> ScoredTexts:
        """Return probabilities, expected stars and numbers of tokens of `texts`."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """The scores of some texts (n) by any classifier."""

    probabilities: NDArray[np.float64]  # (n, labels)
    stars: NDArray[np.float64] | None = None  # (n), expected star rating; None: not predicted
    tokens: NDArray[np.int64] | None = None  # (n), without special tokens; None: not counted


def score(scorer: Scorer, texts: Sequence[str], title: str = "scoring") -> NDArray[np.float64]:
    """Return the probabilities (texts, labels) of `texts`. See `answer`."""
    return answer(scorer, texts, title).probabilities


def likeliest_labels(
    scorer: Scorer, texts: Sequence[str], title: str = "scoring"
) -> NDArray[np.str_]:
    """Return the predicted label of each of `texts`. See `answer`."""
    predicted = score(scorer, texts, title).argmax(axis=1)
    labels: NDArray[np.str_] = np.array(scorer.labels)[predicted]
    return labels


def answer(scorer: Scorer, texts: Sequence[str], title: str = "scoring") -> Answers:
    """Return probabilities, stars and tokens of `texts`. See `in_batches`."""
    batches = in_batches(lambda batch: _answers(scorer, batch), texts, title)
    no_texts = np.empty((0, len(scorer.labels)))
    return Answers(
        np.concatenate([no_texts, *(batch.probabilities for batch in batches)]),
        _concatenated([batch.stars for batch in batches]),
        _concatenated([batch.tokens for batch in batches]),
    )


def in_batches(
    score: Callable[[Sequence[str]], _Scores], texts: Sequence[str], title: str
) -> list[_Scores]:
    """Return `score(batch)` for all batches of `texts`, with a progress bar named `title`.

    Raises TextError if a text cannot be scored; its position counts from the first of `texts`.
    """
    results = []
    with tqdm(total=len(texts), unit=" texts", desc=title) as bar:
        for start in range(0, len(texts), _BATCH):
            batch = texts[start : start + _BATCH]
            try:
                results.append(score(batch))
            except TextError as error:
                raise TextError(start + error.position, error.reason, code=error.code) from error
            bar.update(len(batch))
    return results


def _answers(scorer: Scorer, texts: Sequence[str]) -> Answers:
    if isinstance(scorer, RatingScorer):
        scored = scorer.score(texts)
        return Answers(scored.probabilities, scored.stars, scored.tokens)
    return Answers(scorer.predict_proba(texts))


def _concatenated(arrays: Sequence[NDArray[Any] | None]) -> NDArray[Any] | None:
    present = [array for array in arrays if array is not None]
    return np.concatenate(present) if present else None
