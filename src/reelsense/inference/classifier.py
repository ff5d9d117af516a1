"""Texts to predictions: clean, cut, run, calibrate.

The command line, the server and evaluation all answer through this class, so what was measured
is what is served.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reelsense import registry
from reelsense.bundle import Bundle, read_bundle
from reelsense.errors import BundleError, InputError, TextError
from reelsense.inference.batching import BatchQueue, Network, OnBatch
from reelsense.inference.cache import AnswerCache
from reelsense.inference.calibration import (
    calibrated,
    decision_thresholds,
    expected_stars,
    group_numbers,
    probabilities_by_length,
    verdict,
    window_means,
)
from reelsense.inference.call_context import CallContext
from reelsense.inference.engine import Engine
from reelsense.inference.explain import BUDGET, LEAST_BUDGET, Reading, Weighed, explain
from reelsense.inference.gpu import GpuEngine, gpu_engine
from reelsense.inference.tokenizer import ReviewTokenizer, Tokens, windows
from reelsense.prediction import (
    Answers,
    Counterfactual,
    Coverage,
    Explanation,
    Part,
    Prediction,
    without,
)
from reelsense.text.clean import Traced, trace

_SLICE = 512
"""Texts tokenized at a time, so that memory does not grow with the length of a list."""

_UNREADABLE = "holds nothing that the model can read"


@dataclass(frozen=True, slots=True)
class NetworkOutputs:
    """What the network says of some texts, before calibration."""

    logits: NDArray[np.float64]
    """(texts, labels), the mean over each text's windows."""
    stars: NDArray[np.float64]
    """(texts, ratings), the same of the star ratings; no columns without any."""
    windows: NDArray[np.int64]
    """How many, of each text."""
    tokens: NDArray[np.int64]
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
        cache_size: int = 0,
        gpu: bool = True,
        on_batch: OnBatch = lambda *_: None,
    ) -> None:
        """Compile the network of `bundle` for `threads` cores, by default all there are.

        `network` takes its place where given: the checkpoint before int8, or a test's. With
        `remembered`, that many answers are kept for texts that come again. Without `gpu`, the
        processor answers even if there is one. `on_batch` is told of every batch that ran.
        """
        self.manifest = bundle.manifest
        self._groups = bundle.manifest.groups
        self.card, self.evaluation, self.size = bundle.card, bundle.evaluation, bundle.size
        if self.manifest.window < 3:
            raise BundleError(f"a window of {self.manifest.window} tokens has no room for text")
        self._tokenizer = ReviewTokenizer(bundle.tokenizer)
        pad = self._tokenizer.pad
        if network:
            self._queue = BatchQueue([network], pad, Engine.tokens_per_batch, on_batch=on_batch)
        else:
            engine = _engine(bundle, threads, gpu=gpu)
            self._queue = BatchQueue(
                engine.side_by_side, pad, engine.tokens_per_batch, engine.whole, on_batch
            )
        self._cache = (
            AnswerCache[_Row | None](cache_size, self.manifest.version) if cache_size else None
        )

    @classmethod
    def load(
        cls, name_or_path: str | Path | None = None, *, threads: int | None = None
    ) -> Classifier:
        """Load an installed model by its name, or the bundle in a folder.

        Args:
            name_or_path: The name of an installed model, as `reelsense models` lists them, or a
                folder. A string that contains a path separator or begins with a dot is always a
                folder, and so is a `Path`. By default the bundled model.
            threads: The processor cores to use, by default all there are.

        Raises:
            BundleError: There is no such model, or a file of it is missing, changed or too new.
        """
        return cls(read_bundle(registry.find(name_or_path)), threads=threads)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the columns of `predict_proba`."""
        return self.manifest.labels

    def predict(
        self, texts: Sequence[str], *, risk: float | None = None, context: CallContext | None = None
    ) -> list[Prediction]:
        """Return one prediction for each of `texts`, in their order.

        A text of any length is read whole, and its answer does not depend on the other texts.
        `risk` is the share of wrong answers you accept among those whose verdict is not "unsure",
        by default the bundle's. `context` limits the time and tells where it went. Raises TextError
        for the first text that is none or holds nothing to read, InputError if the model has no
        thresholds for a risk, DeadlineError if the time of `context` is up.
        """
        predictions = []
        for answer in self._each(_checked(texts), risk, context):
            if isinstance(answer, TextError):
                raise answer
            predictions.append(answer)
        return predictions

    def predict_each(
        self, texts: Sequence[str], *, risk: float | None = None, context: CallContext | None = None
    ) -> list[Prediction | TextError]:
        """Return one answer for each of `texts`: as `predict`, but no text spoils the others.

        In the place of a text that is none or holds nothing to read is the TextError that says so.
        """
        return list(self._each(_list(texts), risk, context))

    def explain(
        self,
        text: str,
        *,
        budget: int = BUDGET,
        risk: float | None = None,
        context: CallContext | None = None,
    ) -> Explanation:
        """Return which sentences and words of `text` carry its answer, and what would turn it.

        Every weight is measured: by taking the part out, and reading what is left. `budget` is how
        many windows may be read for that, LEAST_BUDGET at least, beside the text itself. The same
        text always gets the same explanation. `risk` and `context` are those of `predict`, and so
        are the errors; InputError too if `budget` is none.
        """
        if type(budget) is not int or budget < LEAST_BUDGET:
            raise InputError(f"budget is a number, {LEAST_BUDGET} at least, not {budget!r}")
        thresholds, context = decision_thresholds(self.manifest, risk), context or CallContext()
        _checked([text])
        context.computed += 1
        with context.tokenizing():
            traced = trace(text)
            tokens = self._tokenizer.locate(traced.text)
        if not tokens.ids:
            raise TextError(0, _UNREADABLE)
        reading = self._reading(tokens, context)
        row = _Row(reading.outputs.mean(axis=0), reading.windows, len(tokens.ids))
        prediction = next(self._predictions([row], thresholds))
        target_label = "positive" if "positive" in self.labels else prediction.label
        number = self.labels.index(target_label)
        found = explain(reading, traced, number, budget)
        return Explanation(
            prediction=prediction,
            target_label=target_label,
            log_odds=reading.log_odds(number),
            sentences=_parts(found.sentences, traced),
            words=_parts(found.words, traced),
            counterfactual=self._verified(
                text, found.unit, _parts(found.counterfactual, traced), prediction, risk, context
            ),
            forward_passes=reading.forward_passes,
            budget=budget,
        )

    def _reading(self, tokens: Tokens, context: CallContext) -> Reading:
        # Also of what is left when parts are taken out: weights compare like with like.
        group = self._groups[int(group_numbers(self._groups, len(tokens.ids)))]

        def calibrate(logits: NDArray[np.float64], counts: Sequence[int]) -> NDArray[np.float64]:
            return calibrated(logits[:, : len(self.labels)], counts, group.calibration)

        return Reading(
            tokens,
            self.manifest.window,
            self._tokenizer.frame,
            lambda some: self._queue.run(some, context).astype(np.float64),
            calibrate,
        )

    def _verified(
        self,
        text: str,
        unit: str,
        parts: tuple[Part, ...],
        whole: Prediction,
        risk: float | None,
        context: CallContext,
    ) -> Counterfactual | None:
        """Return the flip that is to come of taking `parts` out of `text`, if it does come."""
        left = without(text, parts)
        if not parts or not left.strip():
            return None
        [answer] = self.predict_each([left], risk=risk, context=context)
        if isinstance(answer, TextError) or answer.label == whole.label:
            return None
        return Counterfactual(unit, parts, answer)

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
        """Return probabilities, stars and numbers of tokens of a few `texts`.

        Raises TextError as `predict`.
        """
        return self._answers(self.score(_checked(texts)))

    def _answers(self, scored: NetworkOutputs) -> Answers:
        ratings = self.manifest.ratings
        return Answers(
            probabilities_by_length(scored.logits, scored.windows, scored.tokens, self._groups),
            expected_stars(scored.stars, ratings) if ratings else None,
            scored.tokens,
        )

    def _each(
        self, texts: Sequence[str], risk: float | None, context: CallContext | None
    ) -> Iterator[Prediction | TextError]:
        thresholds = decision_thresholds(self.manifest, risk)
        for start in range(0, len(texts), _SLICE):
            part = texts[start : start + _SLICE]
            faults = {n: fault for n, text in enumerate(part) if (fault := _fault(text))}
            good = [n for n in range(len(part)) if n not in faults]
            rows = dict(zip(good, self._rows([part[n] for n in good], context), strict=True))
            faults |= {n: _UNREADABLE for n, row in rows.items() if row is None}
            predictions = self._predictions([row for row in rows.values() if row], thresholds)
            for n in range(len(part)):
                yield TextError(start + n, faults[n]) if n in faults else next(predictions)

    def _predictions(
        self, rows: list[_Row], thresholds: Sequence[float | None]
    ) -> Iterator[Prediction]:
        """Yield the predictions for `rows`; `thresholds` are those of the length groups."""
        if not rows:
            return
        scored = self._scored(rows)
        found = self._answers(scored)
        stars = [None] * len(rows) if found.stars is None else found.stars.tolist()
        numbers = group_numbers(self._groups, scored.tokens).tolist()
        for row, rating, tokens, number in zip(
            found.probabilities, stars, scored.tokens.tolist(), numbers, strict=True
        ):
            label, score = self.labels[int(row.argmax())], float(row.max())
            yield Prediction(
                label=label,
                score=score,
                probabilities=dict(zip(self.labels, row.tolist(), strict=True)),
                threshold=thresholds[number],
                verdict=verdict(label, score, thresholds[number]),
                stars=rating,
                tokens=Coverage(total=tokens, scored=tokens),
            )

    def score(self, texts: Sequence[str], first: int = 0) -> NetworkOutputs:
        """Return the network's own answers, which a calibration is fitted on.

        In an error, the first of `texts`, at least one, counts as number `first`.
        """
        rows = self._rows(texts)
        for n, row in enumerate(rows):
            if row is None:
                raise TextError(first + n, _UNREADABLE)
        return self._scored([row for row in rows if row])

    def _scored(self, rows: list[_Row]) -> NetworkOutputs:
        logits = np.array([row.logits for row in rows])
        return NetworkOutputs(
            logits=logits[:, : len(self.labels)],
            stars=logits[:, len(self.labels) :],
            windows=np.array([row.windows for row in rows]),
            tokens=np.array([row.tokens for row in rows]),
        )

    def _rows(self, texts: Sequence[str], context: CallContext | None = None) -> list[_Row | None]:
        """Return what the network says of each text; None where there is nothing to read."""
        context = context or CallContext()
        if self._cache is None or context.background:  # a large file would push out all the others
            return self._run(texts, context)
        return self._cache.get(
            texts, lambda places: self._run([texts[n] for n in places], context), context
        )

    def _run(self, texts: Sequence[str], context: CallContext) -> list[_Row | None]:
        """Clean, cut and run `texts`."""
        context.computed += len(texts)
        with context.tokenizing():
            encoded = self._tokenizer.encode(texts, context)
            frame = self._tokenizer.frame
            cut = [windows(ids, self.manifest.window, frame) for ids in encoded if ids]
        if not cut:
            return [None] * len(texts)
        logits = self._queue.run([window for each in cut for window in each], context)
        means = window_means(logits.astype(np.float64), list(map(len, cut)))
        rows = (
            _Row(mean, len(each), len(ids))
            for mean, each, ids in zip(means, cut, filter(None, encoded), strict=True)
        )
        return [next(rows) if ids else None for ids in encoded]


def _engine(bundle: Bundle, threads: int | None, *, gpu: bool) -> Engine | GpuEngine:
    with bundle.loadable() as network:
        return (gpu_engine(network) if gpu else None) or Engine(
            network, threads, int8_activations=bundle.manifest.int8_activations
        )


def _parts(found: Sequence[Weighed], traced: Traced) -> tuple[Part, ...]:
    """Where `found` are in the text as given."""
    spans = [(traced.given(each.span), each.weight) for each in found]
    return tuple(Part(span.start, span.end, weight) for span, weight in spans)


def _checked(texts: Sequence[str]) -> Sequence[str]:
    for n, text in enumerate(_list(texts)):
        if fault := _fault(text):
            raise TextError(n, fault)
    return texts


def _list(texts: Sequence[str]) -> Sequence[str]:
    if isinstance(texts, str):
        raise InputError("pass a list of texts, not one string")
    return texts


def _fault(text: object) -> str:
    """What can be said against `text` unread; blank if nothing."""
    if not isinstance(text, str):
        return f"is not a string but {type(text).__name__}"
    return "" if text.strip() else "is blank"
