"""Compare the network throughput of two bundles on the same reviews and cores.

    .venv/bin/python benchmarks/bundles.py OLD NEW --reviews data/aclImdb

Prints the reviews per second of each, and the ratio of new to old in every round.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import median

import machine
from contenders import best_way, ours, seconds
from engines import Prepared, prepare
from reelsense.bundle import read_bundle
from reelsense.datasets.labelled import LabelledData
from reelsense.inference.batching import BatchQueue
from reelsense.inference.engine import available_cores
from reelsense.inference.tokenizer import ReviewTokenizer


def load(folder: Path, texts: Sequence[str]) -> tuple[BatchQueue, Prepared]:
    """Return the queue that runs the bundle in `folder`, and its windows of `texts`."""
    bundle = read_bundle(folder)
    pad = ReviewTokenizer(bundle.tokenizer).pad
    prepared = prepare(texts, bundle)
    return best_way(ours(bundle, available_cores()), pad, prepared.windows[:8]).queue, prepared


def compare(old: Path, new: Path, texts: Sequence[str], rounds: int) -> list[tuple[float, float]]:
    """Return the reviews per second of both in every round; every second one runs backwards."""
    loaded = [load(folder, texts) for folder in (old, new)]
    for queue, prepared in loaded:
        queue.run(prepared.windows[:64])
    found = []
    for turn in range(rounds):
        rates = [0.0, 0.0]
        for number in (0, 1)[:: (-1) ** turn]:
            queue, prepared = loaded[number]
            rates[number] = len(texts) / seconds(partial(queue.run, prepared.windows))
        found.append((rates[0], rates[1]))
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--reviews", type=Path, required=True, help="the unpacked dataset")
    parser.add_argument("--sample", type=int, default=300, help="validation reviews")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    texts = [review.text for review in LabelledData(options.reviews).part("validation")]
    texts = random.Random(0).sample(texts, min(options.sample, len(texts)))
    found = compare(options.old, options.new, texts, options.rounds)
    print(machine.describe())
    for old, new in found:
        print(f"old {old:.1f}/s, new {new:.1f}/s, ratio {new / old:.2f}")
    ratios = [new / old for old, new in found]
    print(f"ratio {median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})")


if __name__ == "__main__":
    main()
