"""The classifier protocol of the evaluation: texts to probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from reelsense.errors import TextError
from reelsense.prediction import ScoredTexts

_STEP = 256  # texts per update of the progress bar


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
    """Return probabilities, stars and tokens of `texts`, with a progress bar named `title`.

    Raises:
        TextError: A text cannot be scored. Its position counts from the first of `texts`.
    """
    parts = [np.empty((0, len(scorer.labels)))]
    stars, tokens = [], []
    with tqdm(total=len(texts), unit=" reviews", desc=title) as bar:
        for start in range(0, len(texts), _STEP):
            try:
                answers = _answers(scorer, texts[start : start + _STEP])
            except TextError as error:
                raise TextError(start + error.position, error.reason, code=error.code) from error
            parts.append(answers.probabilities)
            if answers.stars is not None:
                stars.append(answers.stars)
            if answers.tokens is not None:
                tokens.append(answers.tokens)
            bar.update(len(answers.probabilities))
    return Answers(
        np.concatenate(parts),
        np.concatenate(stars) if stars else None,
        np.concatenate(tokens) if tokens else None,
    )


def _answers(scorer: Scorer, texts: Sequence[str]) -> Answers:
    if isinstance(scorer, RatingScorer):
        scored = scorer.score(texts)
        return Answers(scored.probabilities, scored.stars, scored.tokens)
    return Answers(scorer.predict_proba(texts))
