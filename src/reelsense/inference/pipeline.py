"""Texts to network outputs, and network outputs to calibrated scores.

Owns the tokenizer, the queue and the cache. Does not know thresholds or invalid texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from reelsense.bundle import Bundle, Manifest
from reelsense.inference.batching import BatchQueue, Cores, Network, OnBatch
from reelsense.inference.cache import AnswerCache
from reelsense.inference.calibration import (
    calibrated,
    expected_stars,
    group_numbers,
    probabilities_by_group,
    window_means,
)
from reelsense.inference.call_context import CallContext
from reelsense.inference.engine import Engine
from reelsense.inference.gpu import GpuEngine, gpu_engine
from reelsense.inference.occlusion import Occlusion
from reelsense.inference.tokenizer import ReviewTokenizer, windows
from reelsense.prediction import EMBEDDING_SIZE, ScoredTexts, TextFeatures


@dataclass(frozen=True, slots=True)
class TextOutput:
    """The network's output for one text, as the cache keeps it."""

    outputs: NDArray[np.float64]  # (labels + ratings), means over the windows
    windows: int
    tokens: int
    features: TextFeatures | None = None


@lru_cache(maxsize=2)
def _basis(dimensions: int) -> NDArray[np.float64]:
    """Return orthogonal directions (dimensions, EMBEDDING_SIZE): the first ones of a DCT."""
    positions = np.arange(dimensions)[:, np.newaxis] + 0.5
    return np.asarray(np.cos(np.pi / dimensions * positions * np.arange(1, EMBEDDING_SIZE + 1)))


def _projected(vector: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return a fixed projection of a sentence vector to EMBEDDING_SIZE dimensions."""
    return np.asarray(vector @ _basis(len(vector)), dtype=np.float32)


class SingleNetwork:
    """An engine of one network, such as that of a checkpoint before int8."""

    tokens_per_batch = Engine.tokens_per_batch
    vector_size = 0

    def __init__(self, network: Network) -> None:
        self.latency_network = network
        self.throughput_networks = [network]


def load_engine(bundle: Bundle, threads: int | None, *, gpu: bool) -> Engine | GpuEngine:
    """Compile the network of a bundle: with `gpu` for the GPU, if there is one."""
    with bundle.loadable() as network:
        return (gpu_engine(network) if gpu else None) or Engine(
            network, threads, int8_activations=bundle.manifest.int8_activations
        )


class Pipeline:
    """The steps from text to scores. Thread-safe."""

    def __init__(
        self,
        bundle: Bundle,
        engine: Engine | GpuEngine | SingleNetwork,
        cache_size: int,
        on_batch: OnBatch,
        cores: Cores | None = None,
    ) -> None:
        manifest = self._manifest = bundle.manifest
        self._window, self._groups = manifest.window, manifest.groups
        # Where the sentence vector begins in the outputs of the network; None: it has none.
        self._scores = -engine.vector_size or None
        self._tokenizer = ReviewTokenizer(bundle.tokenizer)
        self._queue = BatchQueue(
            engine.throughput_networks,
            self._tokenizer.pad,
            engine.tokens_per_batch,
            engine.latency_network,
            on_batch,
            cores,
        )
        self._cache = (
            AnswerCache[TextOutput | None](cache_size, manifest.version) if cache_size else None
        )

    def cached_outputs(
        self, texts: Sequence[str], context: CallContext
    ) -> Sequence[TextOutput | None]:
        """Return the output for each text; None for a text without readable tokens."""
        if self._cache is None or context.background:  # a large file would evict everything else
            return self._outputs(texts, context)
        return self._cache.get(
            texts, lambda positions: self._outputs([texts[n] for n in positions], context), context
        )

    def _outputs(self, texts: Sequence[str], context: CallContext) -> list[TextOutput | None]:
        context.computed += len(texts)
        with context.tokenizing():
            encoded = self._tokenizer.encode(texts, context)
            frame = self._tokenizer.frame
            windows_by_text = [windows(ids, self._window, frame) for ids in encoded if ids]
        if not windows_by_text:
            return [None] * len(texts)
        outputs = self._queue.run([window for cut in windows_by_text for window in cut], context)
        counts = [len(cut) for cut in windows_by_text]
        means = zip(window_means(outputs.astype(np.float64), counts), counts, strict=True)
        return [self._output(ids, *next(means)) if ids else None for ids in encoded]

    def _output(self, ids: list[int], means: NDArray[np.float64], windows: int) -> TextOutput:
        unknown = self._tokenizer.unknown
        features = TextFeatures(
            unknown=0.0 if unknown is None else ids.count(unknown) / len(ids),
            embedding=None if self._scores is None else _projected(means[self._scores :]),
        )
        # A view would keep the sentence vector in memory.
        return TextOutput(means[: self._scores].copy(), windows, len(ids), features)

    def calibrate(self, outputs: Sequence[TextOutput]) -> ScoredTexts:
        """Return the scores for the outputs of at least one text."""
        return calibrate(self._manifest, outputs)

    def occlusion(self, text: str, context: CallContext) -> tuple[Occlusion, TextOutput] | None:
        """Score a cleaned text so that parts of it can be removed; None without readable tokens.

        Returns the output for the whole text, too.
        """
        context.computed += 1
        with context.tokenizing():
            tokens = self._tokenizer.encode_with_offsets(text)
        if not tokens.ids:
            return None
        # The remaining text keeps the calibration of the whole text: weights are differences of
        # comparable logits.
        calibration = self._groups[int(group_numbers(self._groups, len(tokens.ids)))].calibration
        labels = len(self._manifest.labels)
        occlusion = Occlusion(
            tokens,
            self._window,
            self._tokenizer.frame,
            lambda cut: self._queue.run(cut, context)[:, : self._scores].astype(np.float64),
            lambda logits, counts: calibrated(logits[:, :labels], counts, calibration),
        )
        return occlusion, TextOutput(
            occlusion.outputs.mean(axis=0), occlusion.windows, occlusion.tokens
        )


def calibrate(manifest: Manifest, outputs: Sequence[TextOutput]) -> ScoredTexts:
    """Return the scores for the outputs of at least one text, calibrated as in `manifest`."""
    values = np.array([output.outputs for output in outputs])
    logits, star_logits = np.split(values, [len(manifest.labels)], axis=1)
    windows_per_text = np.array([output.windows for output in outputs])
    tokens = np.array([output.tokens for output in outputs])
    groups, ratings = group_numbers(manifest.groups, tokens), manifest.ratings
    calibrations = [group.calibration for group in manifest.groups]
    return ScoredTexts(
        probabilities=probabilities_by_group(logits, windows_per_text, groups, calibrations),
        stars=expected_stars(star_logits, ratings) if ratings else None,
        tokens=tokens,
        groups=groups,
        logits=logits,
        star_logits=star_logits,
        windows=windows_per_text,
        features=[output.features for output in outputs],
    )
