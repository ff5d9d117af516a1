"""Check for performance regressions in less than two minutes, without a dataset.

    .venv/bin/python benchmarks/quick.py

Texts of common words, as long as reviews are, go through our network and through the same weights
in PyTorch; through Classifier.predict; and over HTTP to `reelsense serve`. Ratios mean more than
rates where others use the cores as well. Has no thresholds: what it cannot run is the only failure.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

import machine
from contenders import ours, pytorch, seconds, ways
from engines import Prepared, p50_ms, prepare
from load import Load, LoadError, Target, first_answer, measure
from reelsense import Classifier
from reelsense.bundle import DEFAULT_BUNDLE, read_bundle
from reelsense.inference.batching import BatchQueue, Network
from reelsense.inference.engine import available_cores
from reelsense.inference.tokenizer import ReviewTokenizer
from reference import load_checkpoint
from serving import SHORT_REVIEW, ask, read_label

_DECILES = (13, 116, 150, 169, 191, 222, 263, 319, 412, 585, 1200)
"""Tokens of a review of the Large Movie Review Dataset: deciles of every third of the train part.
The last is the 99th percentile, not the longest."""

_WORDS = """
the of and a to is in it that this was as for with but film movie on not be are his have one all at
they by who an from so like her there or just about out if has what some good when more very up time
even my would which only story really see their had can were me we bad great scene plot actor love
"""
"""One token each."""

_TEXTS = 40
_ROUNDS = 4
_CLIENTS = 16
_SERVED_SECONDS = 3.0
_SHORT_SECONDS = 1.0
_START_SECONDS = 60.0
_PYTORCH_BUDGET = 1024
"""Tokens in a batch; about the best of those that benchmarks/contenders.py has."""


def texts(count: int = _TEXTS) -> list[str]:
    """Return `count` texts in a random order, the same each time, with the lengths of reviews."""
    chance = random.Random(0)
    words = _WORDS.split()
    places = (np.arange(count) + 0.5) / count
    lengths = np.interp(places, np.linspace(0, 1, len(_DECILES)), _DECILES).astype(int).tolist()
    chance.shuffle(lengths)
    return [" ".join(chance.choices(words, k=length)) for length in lengths]


@dataclass(frozen=True, slots=True)
class Measures:
    """What is measured: each returns one figure."""

    pytorch: Callable[[], float]
    alone: Callable[[], float]
    predict: Callable[[], float]
    served: Callable[[], float]
    short_alone: Callable[[], float]
    short_served: Callable[[], float]

    def medians(self, rounds: int) -> list[float]:
        """Return the median of each over rounds; every second one goes backwards."""
        each = [getattr(self, name) for name in self.__slots__]
        found: list[list[float]] = [[] for _ in each]
        for turn in range(rounds):
            for measured, figures in list(zip(each, found, strict=True))[:: (-1) ** turn]:
                figures.append(measured())
        return list(map(median, found))


def rates(port: int, meter: machine.Tree) -> Measures:
    """Return what measures reviews a second, and milliseconds, with a server at `port`."""
    bundle, cores = read_bundle(DEFAULT_BUNDLE), available_cores()
    tokenizer = ReviewTokenizer(bundle.tokenizer)
    mine, other = ours(bundle, cores), pytorch(load_checkpoint(bundle), cores)
    (served,) = ways(mine, tokenizer.pad)
    plain = BatchQueue(other.side_by_side, tokenizer.pad, _PYTORCH_BUDGET)
    classifier, asked = Classifier(bundle), texts()
    prepared, short = prepare(asked, bundle), prepare([SHORT_REVIEW], bundle)
    return Measures(
        pytorch=_rate(plain, prepared),
        alone=_rate(served.queue, prepared),
        predict=lambda: len(asked) / seconds(lambda: classifier.predict(asked)),
        served=lambda: _over_http(port, meter, asked, _CLIENTS, _SERVED_SECONDS)[0],
        short_alone=_short(mine.whole, short.windows[0], tokenizer.pad),
        short_served=lambda: _over_http(port, meter, [SHORT_REVIEW], 1, _SHORT_SECONDS)[1],
    )


def _rate(queue: BatchQueue, texts: Prepared) -> Callable[[], float]:
    queue.run(texts.windows[:1])  # one alone: an engine's first call may not bear another beside it
    return lambda: len(texts) / seconds(lambda: queue.run(texts.windows))


def _short(network: Network, window: Sequence[int], pad: int) -> Callable[[], float]:
    return lambda: p50_ms(network, window, pad, _SHORT_SECONDS)


def _over_http(
    port: int, meter: machine.Tree, asked: Sequence[str], clients: int, at_least: float
) -> tuple[float, float]:
    """Return answers a second and the median milliseconds of one. Raises LoadError for errors."""
    target = Target(port, lambda number: ask(asked[number % len(asked)]), read_label)
    with Load(target, clients) as load:
        figures = measure(load, meter, at_least)
    if figures.errors:
        raise LoadError(next(answer.error for answer in load.answers if answer.error))
    return figures.reviews_per_s, figures.p50_s * 1000


def report(figures: Sequence[float]) -> str:
    """Return a table of the medians, in the order of Measures."""
    pytorch, alone, predict, served, short_alone, short_served = figures
    rows = [
        ("PyTorch, eager, fp32, sorted batches", pytorch, "reviews/s", ""),
        ("our network alone, the same windows", alone, "reviews/s", f"{alone / pytorch:.2f} x it"),
        ("Classifier.predict", predict, "reviews/s", f"{predict / alone:.0%} of the network"),
        (f"HTTP, {_CLIENTS} clients", served, "reviews/s", f"{served / alone:.0%} of the network"),
        ("a short review, our network alone", short_alone, "ms", ""),
        ("over HTTP, one client", short_served, "ms", f"{short_served / short_alone:.2f} x it"),
    ]
    lines = [f"{what:38}{figure:8.1f} {unit:11}{ratio}" for what, figure, unit, ratio in rows]
    return "\n".join([*lines, machine.describe()])


def main() -> None:
    """Start a server, measure, and print the table."""
    port = machine.free_port()
    command = [sys.executable, "-m", "reelsense", "serve", "--port", str(port)]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "server.log"
        try:
            with machine.running(command, os.environ | {"REELSENSE_CACHE_SIZE": "0"}, log) as tree:
                short = Target(port, lambda _: ask(SHORT_REVIEW), read_label)
                first_answer(short, tree.alive, _START_SECONDS)
                print(report(rates(port, tree).medians(_ROUNDS)))
        except LoadError as error:
            sys.exit(f"{error}\n{log.read_text(errors='replace')}")


if __name__ == "__main__":
    main()
