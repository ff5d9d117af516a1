"""Measure the network alone, the baseline for HTTP and files."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from machine import seconds
from reelsense.bundle import DEFAULT_BUNDLE, read_bundle
from reelsense.inference.batching import BatchQueue, stack
from reelsense.inference.engine import Engine
from reelsense.inference.tokenizer import ReviewTokenizer, windows


@dataclass(frozen=True, slots=True)
class Rate:
    """Speed of the network."""

    reviews_per_s: float
    cpu_s: float  # processor seconds per review


class NetworkAlone:
    """The network of the default bundle, with texts that are tokenized already."""

    def __init__(self, texts: Sequence[str]) -> None:
        bundle = read_bundle(DEFAULT_BUNDLE)
        self._tokenizer = ReviewTokenizer(bundle.tokenizer)
        self._window = bundle.manifest.window
        self._engine = Engine(bundle.network, int8_activations=bundle.manifest.int8_activations)
        self._queue = BatchQueue(
            self._engine.throughput_networks,
            self._tokenizer.pad,
            self._engine.tokens_per_batch,
            latency_network=self._engine.latency_network,
        )
        self._texts = len(texts)
        self._windows = self._tokenize(texts)

    def _tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        frame = self._tokenizer.frame
        encoded = self._tokenizer.encode(texts)
        return [window for ids in encoded for window in windows(ids, self._window, frame)]

    def rate(self) -> Rate:
        """Run all windows, sorted by length."""
        start, cpu = time.perf_counter(), time.process_time()
        self._queue.run(self._windows)
        elapsed, cpu = time.perf_counter() - start, time.process_time() - cpu
        return Rate(self._texts / elapsed, cpu / self._texts)

    def median_ms(self, text: str, repetitions: int = 200) -> float:
        """Return the latency of `text`, of one window, on all cores."""
        batch = stack(self._tokenize([text]), self._tokenizer.pad)
        latencies = [
            seconds(lambda: self._engine.latency_network(*batch)) for _ in range(repetitions)
        ]
        return median(latencies) * 1000
