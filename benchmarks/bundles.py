"""Compare the network throughput of two bundles on the same reviews and cores.

    .venv/bin/python benchmarks/bundles.py OLD NEW --reviews data/aclImdb

Prints the reviews per second of both, and the ratio of new to old in every round.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import median

import machine
from engine_setups import batching_strategies, reelsense_setup
from engines import TokenizedTexts, tokenize
from machine import seconds
from reelsense.bundle import read_bundle
from reelsense.inference.batching import BatchQueue
from reelsense.inference.engine import available_cores
from reelsense.inference.tokenizer import ReviewTokenizer
from reference import sample_texts


def load(folder: Path, texts: Sequence[str]) -> tuple[BatchQueue, TokenizedTexts]:
    """Return the queue that runs the bundle in `folder`, and its windows of `texts`."""
    bundle = read_bundle(folder)
    pad = ReviewTokenizer(bundle.tokenizer).pad
    (strategy,) = batching_strategies(reelsense_setup(bundle, available_cores()), pad)
    return strategy.queue, tokenize(texts, bundle)


def compare(old: Path, new: Path, texts: Sequence[str], rounds: int) -> list[tuple[float, float]]:
    """Return the reviews per second of both by round; every second one runs in reverse order."""
    loaded = [load(folder, texts) for folder in (old, new)]
    for queue, tokenized in loaded:
        queue.run(tokenized.windows[:64])  # warms up
    results = []
    for turn in range(rounds):
        rates = [0.0, 0.0]
        for number in (0, 1)[:: (-1) ** turn]:
            queue, tokenized = loaded[number]
            rates[number] = len(texts) / seconds(partial(queue.run, tokenized.windows))
        results.append((rates[0], rates[1]))
    return results


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--reviews", type=Path, required=True, help="the unpacked dataset")
    parser.add_argument("--sample", type=int, default=300, help="validation reviews")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    texts = sample_texts(options.reviews, "validation", options.sample)
    results = compare(options.old, options.new, texts, options.rounds)
    print(machine.describe())
    for old, new in results:
        print(f"old {old:.1f}/s, new {new:.1f}/s, ratio {new / old:.2f}")
    ratios = [new / old for old, new in results]
    print(f"ratio {median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})")


if __name__ == "__main__":
    main()
