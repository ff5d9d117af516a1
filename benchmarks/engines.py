"""Compare inference engines on the same weights and cores, and with the peak of the processor.

    .venv/bin/pip install --constraint constraints.txt --editable '.[bench]'
    .venv/bin/python benchmarks/engines.py --reviews data/aclImdb

Without HTTP and tokenizer: the input is windows of tokens, the output logits. A first round chooses
the batching strategy of each engine; later rounds measure, every second one in reverse order.
Writes its section of RESULTS.md and the chart.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

import machine
from engine_setups import engine_setups, fastest_strategy
from engines_report import EngineResults, Report
from machine import seconds
from products import Product, Rates, best_rates, operations, products
from reelsense.bundle import DEFAULT_BUNDLE, Bundle, read_bundle
from reelsense.files import write_atomically
from reelsense.inference.batching import Network, stack
from reelsense.inference.engine import available_cores
from reelsense.inference.tokenizer import ReviewTokenizer, windows
from reference import CHECKPOINT, ROOT, sample_texts
from sections import replace_section
from serving import RESULTS, SHORT_REVIEW

_TUNING_REVIEWS = 40  # for the choice of a batching strategy


@dataclass(frozen=True, slots=True)
class TokenizedTexts:
    """Texts as input of the network."""

    windows: Sequence[Sequence[int]]
    counts: Sequence[int]  # number of windows of each text

    def __len__(self) -> int:
        return len(self.counts)

    def labels(self, logits: NDArray[np.float32], labels: int) -> NDArray[np.int64]:
        """Return the label index of each text, from the mean over its windows.

        The first `labels` columns of `logits` are those of the labels.
        """
        starts = np.cumsum([0, *self.counts])[:-1]
        means = np.add.reduceat(logits[:, :labels].astype(np.float64), starts, axis=0)
        return np.asarray(means.argmax(axis=1))


def tokenize(texts: Sequence[str], bundle: Bundle) -> TokenizedTexts:
    """Tokenize `texts`, and split them into the windows of `bundle`."""
    tokenizer = ReviewTokenizer(bundle.tokenizer)
    by_text = [
        windows(ids, bundle.manifest.window, tokenizer.frame) for ids in tokenizer.encode(texts)
    ]
    return TokenizedTexts(
        [window for text_windows in by_text for window in text_windows], list(map(len, by_text))
    )


def p50_ms(network: Network, window: Sequence[int], pad: int, min_seconds: float) -> float:
    """Return the median latency of one `window`, from calls for at least `min_seconds`."""
    ids, mask = stack([window], pad)
    network(ids, mask)
    latencies: list[float] = []
    while sum(latencies) < min_seconds or len(latencies) < 5:
        latencies.append(seconds(lambda: network(ids, mask)))
    return median(latencies) * 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What every engine runs in every round."""

    reviews: TokenizedTexts
    short: Sequence[int]
    window: Sequence[int]
    pad: int
    labels: int
    seconds: float

    def measure(self, results: EngineResults) -> None:
        """Add a round to `results`."""
        network = results.setup.latency_network
        results.short_ms.append(p50_ms(network, self.short, self.pad, self.seconds))
        results.window_ms.append(p50_ms(network, self.window, self.pad, self.seconds))
        start, cpu = time.perf_counter(), time.process_time()
        logits = results.strategy.queue.run(self.reviews.windows)
        elapsed, cpu = time.perf_counter() - start, time.process_time() - cpu
        results.reviews_per_s.append(len(self.reviews) / elapsed)
        results.cpu_s.append(cpu / len(self.reviews))
        results.labels.append(self.reviews.labels(logits, self.labels))


def make_workload(texts: Sequence[str], bundle: Bundle, min_seconds: float) -> Workload:
    """Return the workload of `texts`; single windows are repeated for `min_seconds`."""
    tokenizer = ReviewTokenizer(bundle.tokenizer)
    reviews = tokenize(texts, bundle)
    tokens = [token for window in reviews.windows for token in window[1:-1]][:254]
    return Workload(
        reviews=reviews,
        short=tokenize([SHORT_REVIEW], bundle).windows[0],
        window=tokenizer.frame.around(tokens),
        pad=tokenizer.pad,
        labels=len(bundle.manifest.labels),
        seconds=min_seconds,
    )


def measure(bundle: Bundle, workload: Workload, rounds: int) -> tuple[list[EngineResults], Rates]:
    """Choose a batching strategy for each engine; measure engines and products in turns."""
    cores = available_cores()
    tuning = workload.reviews.windows[: sum(workload.reviews.counts[:_TUNING_REVIEWS])]
    engines = []
    for setup in engine_setups(bundle, cores):
        engines.append(EngineResults(setup, fastest_strategy(setup, workload.pad, tuning)))
        print(f"{setup.name}: {engines[-1].strategy.name}", flush=True)
    product_rates: list[tuple[Product, list[float]]] = [
        (product, []) for product in products(cores)
    ]
    for turn in range(rounds):
        print(f"round {turn + 1} of {rounds}", flush=True)
        for results in engines[:: (-1) ** turn]:
            workload.measure(results)
            print(f"  {results.setup.name}: {results.reviews_per_s[-1]:.1f}/s", flush=True)
        for product, rates in product_rates[:: (-1) ** turn]:
            rates.append(product.rate(workload.seconds))
    return engines, best_rates(product_rates)


def report(options: argparse.Namespace) -> Report:
    """Measure, and return the results."""
    bundle = read_bundle(DEFAULT_BUNDLE)
    texts = sample_texts(options.reviews, options.split, options.sample)
    workload = make_workload(texts, bundle, options.seconds)
    engines, rates = measure(bundle, workload, options.rounds)
    command = machine.command(options.reviews)
    config = json.loads((CHECKPOINT / "config.json").read_text())
    outputs = len(bundle.manifest.labels) + len(bundle.manifest.ratings)
    lengths = [len(window) for window in workload.reviews.windows]
    return Report(
        intro=f"{machine.describe()}.\n\n`{command}`: {len(texts)} reviews of the "
        f"{options.split} set, rounds: {options.rounds}, {options.seconds:g} s for each latency.",
        engines=engines,
        rates=rates,
        operations=operations(config, outputs, lengths) / len(texts),
        tokens=sum(lengths) / len(texts),
    )


def main() -> None:
    """Measure, and write the results, their section of RESULTS.md and the chart."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reviews", type=Path, required=True, help="the unpacked dataset")
    parser.add_argument("--split", choices=["test", "validation"], default="validation")
    parser.add_argument("--sample", type=int, default=300, help="reviews")
    parser.add_argument("--seconds", type=float, default=1, help="per latency and product")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--results", type=Path, default=ROOT / "build" / "bench")
    options = parser.parse_args()
    results = report(options)
    write_atomically(
        options.results / "engines.json", json.dumps(results.as_json(), indent=1) + "\n"
    )
    replace_section(RESULTS, "engines", results.section())
    results.draw(available_cores())
    print(results.section())


if __name__ == "__main__":
    main()
