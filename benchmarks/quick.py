"""Check for performance regressions in less than two minutes, without a dataset.

    .venv/bin/python benchmarks/quick.py

Texts of common words, as long as reviews, are scored by our network, by the same weights in
PyTorch, by Classifier.predict, and over HTTP by `reelsense serve`. On a busy machine, compare the
ratios rather than the rates. There are no thresholds: it fails only if something does not run.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

import machine
from engine_setups import batching_strategies, pytorch_setup, reelsense_setup
from engines import TokenizedTexts, p50_ms, tokenize
from load import Endpoint, Load, LoadError, measure
from machine import seconds
from reelsense import Classifier
from reelsense.bundle import DEFAULT_BUNDLE, read_bundle
from reelsense.inference.batching import BatchQueue, Network
from reelsense.inference.engine import available_cores
from reelsense.inference.tokenizer import ReviewTokenizer
from reference import load_checkpoint
from serving import SHORT_REVIEW, predict_request, read_label, running_reelsense

# Tokens of a review of the Large Movie Review Dataset: deciles of every third review of the train
# part. The last value is the 99th percentile, not the maximum.
_DECILES = (13, 116, 150, 169, 191, 222, 263, 319, 412, 585, 1200)

# Each is one token.
_WORDS = """
the of and a to is in it that this was as for with but film movie on not be are his have one all at
they by who an from so like her there or just about out if has what some good when more very up time
even my would which only story really see their had can were me we bad great scene plot actor love
"""

_TEXTS = 40
_ROUNDS = 4
_CLIENTS = 16
_SERVER_SECONDS = 3.0
_SHORT_SECONDS = 1.0
_PYTORCH_BUDGET = 1024  # tokens per batch; about the fastest of those in engine_setups.py


def texts(count: int = _TEXTS) -> list[str]:
    """Return `count` texts with the lengths of reviews, always the same, in a random order."""
    random_state = random.Random(0)
    words = _WORDS.split()
    quantiles = (np.arange(count) + 0.5) / count
    lengths = np.interp(quantiles, np.linspace(0, 1, len(_DECILES)), _DECILES).astype(int).tolist()
    random_state.shuffle(lengths)
    return [" ".join(random_state.choices(words, k=length)) for length in lengths]


@dataclass(frozen=True, slots=True)
class Measurements:
    """Functions that measure one figure each: reviews per second, or milliseconds if short."""

    pytorch: Callable[[], float]
    network: Callable[[], float]
    predict: Callable[[], float]
    server: Callable[[], float]
    short_network: Callable[[], float]
    short_server: Callable[[], float]

    def medians(self, rounds: int) -> list[float]:
        """Return the medians over the rounds; every second round runs in reverse order."""
        functions = [getattr(self, name) for name in self.__slots__]
        results: list[list[float]] = [[] for _ in functions]
        for turn in range(rounds):
            for function, figures in list(zip(functions, results, strict=True))[:: (-1) ** turn]:
                figures.append(function())
        return list(map(median, results))


def measurements(port: int, meter: machine.ProcessTree) -> Measurements:
    """Return the measurements, with a server at `port`."""
    bundle, cores = read_bundle(DEFAULT_BUNDLE), available_cores()
    pad = ReviewTokenizer(bundle.tokenizer).pad
    ours, pytorch = reelsense_setup(bundle, cores), pytorch_setup(load_checkpoint(bundle), cores)
    (served,) = batching_strategies(ours, pad)
    pytorch_queue = BatchQueue(pytorch.throughput_networks, pad, _PYTORCH_BUDGET)
    classifier, reviews = Classifier(bundle), texts()
    tokenized, short = tokenize(reviews, bundle), tokenize([SHORT_REVIEW], bundle)
    return Measurements(
        pytorch=_rate(pytorch_queue, tokenized),
        network=_rate(served.queue, tokenized),
        predict=lambda: len(reviews) / seconds(lambda: classifier.predict(reviews)),
        server=lambda: _over_http(port, meter, reviews, _CLIENTS, _SERVER_SECONDS)[0],
        short_network=_short(ours.latency_network, short.windows[0], pad),
        short_server=lambda: _over_http(port, meter, [SHORT_REVIEW], 1, _SHORT_SECONDS)[1],
    )


def _rate(queue: BatchQueue, texts: TokenizedTexts) -> Callable[[], float]:
    queue.run(texts.windows[:1])  # the first call of an engine may have to run alone
    return lambda: len(texts) / seconds(lambda: queue.run(texts.windows))


def _short(network: Network, window: Sequence[int], pad: int) -> Callable[[], float]:
    return lambda: p50_ms(network, window, pad, _SHORT_SECONDS)


def _over_http(
    port: int,
    meter: machine.ProcessTree,
    reviews: Sequence[str],
    clients: int,
    min_seconds: float,
) -> tuple[float, float]:
    """Return answers per second and the median latency in milliseconds."""
    requests = [predict_request(review) for review in reviews]
    endpoint = Endpoint(port, lambda number: requests[number % len(requests)], read_label)
    with Load(endpoint, clients) as load:
        metrics = measure(load, meter, min_seconds)
    if metrics.errors:
        raise LoadError(next(answer.error for answer in load.answers if answer.error))
    return metrics.reviews_per_s, metrics.p50_s * 1000


def report(medians: Sequence[float]) -> str:
    """Return a table of the medians, in the order of Measurements."""
    pytorch, network, predict, server, short_network, short_server = medians
    rows = [
        ("PyTorch, eager, fp32, sorted batches", pytorch, "reviews/s", ""),
        ("our network alone", network, "reviews/s", f"{network / pytorch:.2f} x PyTorch"),
        ("Classifier.predict", predict, "reviews/s", f"{predict / network:.0%} of the network"),
        (
            f"HTTP, {_CLIENTS} clients",
            server,
            "reviews/s",
            f"{server / network:.0%} of the network",
        ),
        ("short review, our network alone", short_network, "ms", ""),
        (
            "short review, HTTP, 1 client",
            short_server,
            "ms",
            f"{short_server / short_network:.2f} x",
        ),
    ]
    lines = [f"{name:38}{value:8.1f} {unit:11}{ratio}" for name, value, unit, ratio in rows]
    return "\n".join([*lines, machine.describe()])


def main() -> None:
    """Start a server, measure, and print the table."""
    try:
        with running_reelsense({"REELSENSE_CACHE_SIZE": "0"}) as (port, tree):
            print(report(measurements(port, tree).medians(_ROUNDS)))
    except LoadError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
