"""Compare inference engines on the same weights and cores, and with the limit of the processor.

    .venv/bin/pip install --constraint constraints.txt --editable '.[bench]'
    .venv/bin/python benchmarks/engines.py --reviews data/aclImdb

No HTTP and no tokenizer: windows of tokens go in, logits come out. All engines get batches of
windows of like length from the same queue. A first round chooses for each how many tokens a batch
has, and whether a batch runs on all cores or each core runs one; ours runs as it is served. Later
rounds measure, every second one backwards. Writes its section of RESULTS.md and the chart.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

import machine
from contenders import best_way, contenders, seconds
from engines_report import Figures, Report
from products import Product, Rates, best_rates, operations, products
from reelsense.bundle import DEFAULT_BUNDLE, Bundle, read_bundle
from reelsense.datasets.labelled import LabelledData
from reelsense.files import write_atomically
from reelsense.inference.batching import Network, stack
from reelsense.inference.engine import available_cores
from reelsense.inference.tokenizer import ReviewTokenizer, windows
from reference import CHECKPOINT, ROOT
from sections import replace_section
from serving import RESULTS, SHORT_REVIEW

_TUNING = 40
"""Reviews that a way to batch is tried on."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """Texts, ready for the network."""

    windows: Sequence[Sequence[int]]
    counts: Sequence[int]
    """Windows of each text."""

    def __len__(self) -> int:
        return len(self.counts)

    def labels(self, logits: NDArray[np.float32], among: int) -> NDArray[np.int64]:
        """Return each text's label, an index below `among`: of the mean over its windows."""
        starts = np.cumsum([0, *self.counts])[:-1]
        means = np.add.reduceat(logits[:, :among].astype(np.float64), starts, axis=0)
        return np.asarray(means.argmax(axis=1))


def prepare(texts: Sequence[str], bundle: Bundle) -> Prepared:
    """Tokenize `texts` and cut them as `bundle` is served."""
    tokenizer = ReviewTokenizer(bundle.tokenizer)
    cut = [windows(ids, bundle.manifest.window, tokenizer.frame) for ids in tokenizer.encode(texts)]
    return Prepared([window for each in cut for window in each], list(map(len, cut)))


def p50_ms(network: Network, window: Sequence[int], pad: int, at_least: float) -> float:
    """Return the median time of one `window` alone, from calls for `at_least` seconds."""
    ids, mask = stack([window], pad)
    network(ids, mask)
    taken: list[float] = []
    while sum(taken) < at_least or len(taken) < 5:
        taken.append(seconds(lambda: network(ids, mask)))
    return median(taken) * 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What every contender does in every round."""

    reviews: Prepared
    short: Sequence[int]
    window: Sequence[int]
    pad: int
    labels: int
    seconds: float

    def measure(self, into: Figures) -> None:
        """Add a round to `into`."""
        whole = into.contender.whole
        into.short_ms.append(p50_ms(whole, self.short, self.pad, self.seconds))
        into.window_ms.append(p50_ms(whole, self.window, self.pad, self.seconds))
        start, cpu = time.perf_counter(), time.process_time()
        logits = into.way.queue.run(self.reviews.windows)
        passed, cpu = time.perf_counter() - start, time.process_time() - cpu
        into.reviews_per_s.append(len(self.reviews) / passed)
        into.cpu_s.append(cpu / len(self.reviews))
        into.labels.append(self.reviews.labels(logits, self.labels))


def task(texts: Sequence[str], bundle: Bundle, at_least: float) -> Task:
    """Return what is done with `texts`; calls one by one take `at_least` seconds."""
    tokenizer = ReviewTokenizer(bundle.tokenizer)
    reviews = prepare(texts, bundle)
    long = [token for window in reviews.windows for token in window[1:-1]][:254]
    return Task(
        reviews=reviews,
        short=prepare([SHORT_REVIEW], bundle).windows[0],
        window=tokenizer.frame.around(long),
        pad=tokenizer.pad,
        labels=len(bundle.manifest.labels),
        seconds=at_least,
    )


def measure(bundle: Bundle, work: Task, rounds: int) -> tuple[list[Figures], Rates]:
    """Choose a way for each contender, and measure all of them and the limit in turns."""
    cores = available_cores()
    tuning = work.reviews.windows[: sum(work.reviews.counts[:_TUNING])]
    figures = []
    for contender in contenders(bundle, cores):
        figures.append(Figures(contender, best_way(contender, work.pad, tuning)))
        print(f"{contender.name}: {figures[-1].way.name}", flush=True)
    rates: list[tuple[Product, list[float]]] = [(each, []) for each in products(cores)]
    for turn in range(rounds):
        print(f"round {turn + 1} of {rounds}", flush=True)
        for each in figures[:: (-1) ** turn]:
            work.measure(each)
            print(f"  {each.contender.name}: {each.reviews_per_s[-1]:.1f}/s", flush=True)
        for multiplied, found in rates[:: (-1) ** turn]:
            found.append(multiplied.rate(work.seconds))
    return figures, best_rates(rates)


def report(options: argparse.Namespace) -> Report:
    """Measure, and return what was found."""
    bundle = read_bundle(DEFAULT_BUNDLE)
    texts = [review.text for review in LabelledData(options.reviews).part(options.split)]
    texts = random.Random(0).sample(texts, min(options.sample, len(texts)))
    work = task(texts, bundle, options.seconds)
    figures, rates = measure(bundle, work, options.rounds)
    command = machine.command(options.reviews)
    config = json.loads((CHECKPOINT / "config.json").read_text())
    outputs = len(bundle.manifest.labels) + len(bundle.manifest.ratings)
    lengths = [len(window) for window in work.reviews.windows]
    return Report(
        intro=f"{machine.describe()}.\n\n`{command}`: {len(texts)} reviews of the "
        f"{options.split} part, rounds: {options.rounds}, {options.seconds:g} s for what runs "
        "one by one.",
        figures=figures,
        rates=rates,
        operations=operations(config, outputs, lengths) / len(texts),
        tokens=sum(lengths) / len(texts),
    )


def main() -> None:
    """Measure, and write the figures, their section of RESULTS.md and the chart."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reviews", type=Path, required=True, help="the unpacked dataset")
    parser.add_argument("--split", choices=["test", "validation"], default="validation")
    parser.add_argument("--sample", type=int, default=300, help="reviews")
    parser.add_argument("--seconds", type=float, default=1, help="of each text and each product")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--results", type=Path, default=ROOT / "build" / "bench")
    options = parser.parse_args()
    found = report(options)
    write_atomically(options.results / "engines.json", json.dumps(found.facts(), indent=1) + "\n")
    replace_section(RESULTS, "engines", found.section())
    found.draw(available_cores())
    print(found.section())


if __name__ == "__main__":
    main()
