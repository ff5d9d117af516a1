"""Texts to predictions: clean, cut, run, calibrate.

The command line, the server and evaluation all answer through this class, so what was measured
is what is served.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reelsense import bundle as bundles
from reelsense.bundle import Bundle
from reelsense.errors import BundleError, InputError, TextError
from reelsense.inference.batching import BatchQueue, Network
from reelsense.inference.cache import AnswerCache
from reelsense.inference.calibration import expected_stars, least_score, probabilities, verdict
from reelsense.inference.engine import Engine
from reelsense.inference.gpu import gpu_engine
from reelsense.inference.tokenizer import ReviewTokenizer, windows
from reelsense.prediction import Answers, Coverage, Prediction

_SLICE = 512
"""Texts tokenized at a time, so that memory does not grow with the length of a list."""


@dataclass(frozen=True, slots=True)
class Scored:
    """What the network says of some texts, before calibration."""

    logits: NDArray[np.float64]
    """(texts, labels), the mean over each text's windows."""
    stars: NDArray[np.float64]
    """(texts, ratings), the same of the star ratings; no columns without any."""
    windows: NDArray[np.int64]
    """How many, of each text."""
    tokens: list[int]
    """Of each text, without [CLS] and [SEP]."""


@dataclass(frozen=True, slots=True)
class _Row:
    """The same of one text."""

    logits: NDArray[np.float64]
    """(labels + ratings)"""
    windows: int
    tokens: int


class Classifier:
    """A sentiment model, ready to answer. Safe to share between threads."""

    def __init__(
        self,
        bundle: Bundle,
        *,
        threads: int | None = None,
        network: Network | None = None,
        remembered: int = 0,
        gpu: bool = True,
    ) -> None:
        """Compile the network of `bundle` for `threads` cores, by default all there are.

        `network` takes its place where given: the checkpoint before int8, or a test's. With
        `remembered`, that many answers are kept for texts that come again. Without `gpu`, the
        processor answers even if there is one.
        """
        self.manifest = bundle.manifest
        if self.manifest.window < 3:
            raise BundleError(f"a window of {self.manifest.window} tokens has no room for text")
        self._tokenizer = ReviewTokenizer(bundle.tokenizer)
        self._queue = _queue(bundle, threads, network, self._tokenizer.pad, gpu=gpu)
        self._cache = AnswerCache[_Row](remembered, self.manifest.version) if remembered else None

    @classmethod
    def load(cls, path: str | Path | None = None, *, threads: int | None = None) -> Classifier:
        """Load the bundle in the folder `path`, by default the one that comes with reelsense.

        Raises BundleError if a file of it is missing, changed or too new.
        """
        return cls(bundles.read(bundles.DEFAULT if path is None else Path(path)), threads=threads)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the columns of `predict_proba`."""
        return self.manifest.labels

    def predict(self, texts: Sequence[str], *, risk: float | None = None) -> list[Prediction]:
        """Return one prediction for each of `texts`, in their order.

        A text of any length is read whole, and its answer does not depend on the other texts.
        `risk` is the share of wrong answers you accept among those whose verdict is not "unsure",
        by default the bundle's. Raises TextError for the first text that is none or holds nothing
        to read, and InputError if the model has no thresholds for a risk.
        """
        least = least_score(self.manifest, risk)
        return [
            prediction
            for start in range(0, len(_checked(texts)), _SLICE)
            for prediction in self._predictions(texts[start : start + _SLICE], start, least)
        ]

    def predict_proba(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return the probabilities of `texts`, (texts, labels), columns in the order of `labels`.

        As scikit-learn has it; LIME, SHAP and cleanlab take it. Raises TextError as `predict`.
        """
        parts = [
            self._answers(self.score(texts[start : start + _SLICE], start)).probabilities
            for start in range(0, len(_checked(texts)), _SLICE)
        ]
        return np.concatenate([np.empty((0, len(self.labels))), *parts])

    def answers(self, texts: Sequence[str]) -> Answers:
        """Return probabilities and stars of a few `texts`. Raises TextError as `predict`."""
        return self._answers(self.score(_checked(texts)))

    def _answers(self, scored: Scored) -> Answers:
        ratings = self.manifest.ratings
        return Answers(
            probabilities(scored.logits, scored.windows, self.manifest.calibration),
            expected_stars(scored.stars, ratings) if ratings else None,
        )

    def _predictions(
        self, texts: Sequence[str], first: int, least: float | None
    ) -> list[Prediction]:
        scored = self.score(texts, first)
        found = self._answers(scored)
        stars = [None] * len(texts) if found.stars is None else found.stars.tolist()
        return [
            Prediction(
                label=(label := self.labels[int(row.argmax())]),
                score=(score := float(row.max())),
                probabilities=dict(zip(self.labels, row.tolist(), strict=True)),
                verdict=verdict(label, score, least),
                stars=rating,
                tokens=Coverage(total=tokens, scored=tokens),
            )
            for row, rating, tokens in zip(found.probabilities, stars, scored.tokens, strict=True)
        ]

    def score(self, texts: Sequence[str], first: int = 0) -> Scored:
        """Return the network's own answers, which a calibration is fitted on.

        In an error, the first of `texts`, at least one, counts as number `first`.
        """

        def run(places: Sequence[int]) -> list[_Row]:
            return self._run([texts[n] for n in places], [first + n for n in places])

        rows = self._cache.get(texts, run) if self._cache else run(range(len(texts)))
        logits = np.array([row.logits for row in rows])
        return Scored(
            logits=logits[:, : len(self.labels)],
            stars=logits[:, len(self.labels) :],
            windows=np.array([row.windows for row in rows]),
            tokens=[row.tokens for row in rows],
        )

    def _run(self, texts: Sequence[str], numbers: Sequence[int]) -> list[_Row]:
        """Clean, cut and run `texts`, which an error calls by their `numbers`."""
        encoded = self._tokenizer.encode(texts)
        for n, ids in zip(numbers, encoded, strict=True):
            if not ids:
                raise TextError(n, "holds nothing that the model can read")
        cut = [windows(ids, self.manifest.window, self._tokenizer.frame) for ids in encoded]
        logits = self._queue.run([window for each in cut for window in each]).astype(np.float64)
        starts = np.cumsum([0, *map(len, cut)])[:-1]
        means = np.add.reduceat(logits, starts, axis=0) / np.array([[len(each)] for each in cut])
        return [
            _Row(mean.copy(), len(each), len(ids))  # a view would keep the whole slice's
            for mean, each, ids in zip(means, cut, encoded, strict=True)
        ]


def _queue(
    bundle: Bundle, threads: int | None, network: Network | None, pad: int, *, gpu: bool
) -> BatchQueue:
    if network:
        return BatchQueue([network], pad, Engine.tokens_per_batch)
    engine = (gpu_engine(bundle.network) if gpu else None) or Engine(
        bundle.network, threads, int8_activations=bundle.manifest.int8_activations
    )
    return BatchQueue(engine.side_by_side, pad, engine.tokens_per_batch, whole=engine.whole)


def _checked(texts: Sequence[str]) -> Sequence[str]:
    if isinstance(texts, str):
        raise InputError("pass a list of texts, not one string")
    for n, text in enumerate(texts):
        if not isinstance(text, str):
            raise TextError(n, f"is not a string but {type(text).__name__}")
        if not text.strip():
            raise TextError(n, "is blank")
    return texts
