"""Check that the server does not leak memory: half an hour of load from 64 clients.

    python benchmarks/soak.py --reviews data/aclImdb

Runs `reelsense serve` of this environment with its default settings. Exits with 1 if the memory
grows or a request fails. Writes its section of RESULTS.md.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import machine
from load import Endpoint, Load, LoadError
from reelsense.datasets.labelled import LabelledData
from rivals.server import Request
from sections import replace_section, table
from serving import RESULTS, predict_request, read_label, running_reelsense

MAX_GROWTH = 0.05  # of the memory in the last sixth, from that between a third and half of the time

_INTERVAL = 10  # seconds between two samples
_SAMPLES_PER_MINUTE = 60 // _INTERVAL


@dataclass(frozen=True, slots=True)
class Sample:
    """The state at the end of an interval."""

    memory_mb: float
    answers: int  # within the interval, without errors
    errors: int


class RandomRequests:
    """Requests for single reviews, single sentences, and several reviews as one text."""

    def __init__(self, reviews: Sequence[str]) -> None:
        self._reviews = reviews

    def __call__(self, number: int) -> Request:
        """Return request `number`. All texts differ, so that the cache has no effect."""
        random_state = random.Random(number)
        kind = random_state.choices(("review", "sentence", "long"), (60, 30, 10))[0]
        count = random_state.randint(3, 12) if kind == "long" else 1
        texts = random_state.choices(self._reviews, k=count)
        if kind == "sentence":
            texts = [random_state.choice(re.split(r"(?<=[.!?])\s+", texts[0]))]
        return predict_request(f"{' '.join(texts)} ({number})")


def growth(memory: Sequence[float]) -> float:
    """Return the relative growth of `memory`, sampled evenly: 0.05 for 5 %."""
    count = len(memory)
    middle = memory[count // 3 : max(count // 3 + 1, count // 2)]
    last = memory[-max(1, count // 6) :]
    return fmean(last) / fmean(middle) - 1


def failure(samples: Sequence[Sample]) -> str:
    """Return why the check failed; "" if it passed."""
    memory_growth = growth([sample.memory_mb for sample in samples])
    if errors := sum(sample.errors for sample in samples):
        return f"{errors} requests failed"
    if memory_growth > MAX_GROWTH:
        return f"memory grew by {memory_growth:.1%}, more than {MAX_GROWTH:.0%}"
    return ""


def watch(load: Load, tree: machine.ProcessTree, count: int) -> list[Sample]:
    """Take `count` samples of `load` and the server, and print a line per minute."""
    start, seen = time.monotonic(), 0
    samples: list[Sample] = []
    while len(samples) < count and tree.alive():
        time.sleep(max(0.0, start + _INTERVAL * (len(samples) + 1) - time.monotonic()))
        new = load.answers[seen:]
        seen += len(new)
        errors = sum(1 for answer in new if answer.error)
        samples.append(Sample(tree.memory_mb(), len(new) - errors, errors))
        if len(samples) % _SAMPLES_PER_MINUTE == 0:
            minute, memory, rate = per_minute(samples)[-1]
            print(f"minute {minute}: {memory} MB, {rate} reviews/s", flush=True)
    return samples


def per_minute(samples: Sequence[Sample]) -> list[list[str]]:
    """Return number, mean memory and answers per second of each full minute."""
    rows = []
    for end in range(_SAMPLES_PER_MINUTE, len(samples) + 1, _SAMPLES_PER_MINUTE):
        minute = samples[end - _SAMPLES_PER_MINUTE : end]
        memory = fmean(sample.memory_mb for sample in minute)
        rate = sum(sample.answers for sample in minute) / 60
        rows.append([str(end // _SAMPLES_PER_MINUTE), f"{memory:.0f}", f"{rate:.1f}"])
    return rows


def soak(reviews: Sequence[str], clients: int, minutes: int) -> list[Sample]:
    """Run the server under load. Raises LoadError if it does not answer, or ends early."""
    with running_reelsense({}) as (port, tree):
        endpoint = Endpoint(port, RandomRequests(reviews), read_label)
        with Load(endpoint, clients) as load:
            return watch(load, tree, minutes * _SAMPLES_PER_MINUTE)


def section(command: str, samples: Sequence[Sample], clients: int) -> str:
    """Return the section of RESULTS.md."""
    memory_growth = growth([sample.memory_mb for sample in samples])
    result = failure(samples) or f"passed: memory {memory_growth:+.1%}, no failed requests"
    return "\n\n".join(
        [
            f"## {len(samples) // _SAMPLES_PER_MINUTE} minutes of mixed lengths, {clients} clients",
            f"{machine.describe()}.\n`{command}`: single reviews (60 %), single "
            "sentences (30 %) and 3 to 12 reviews as one text (10 %). Memory is PSS. From the mean "
            "between a third and half of the time to that of the last sixth, it may grow by "
            f"{MAX_GROWTH:.0%}.",
            f"**{result[0].upper()}{result[1:]}.**",
            table(["minute", "MB", "reviews/s"], per_minute(samples)),
        ]
    )


def main() -> int:
    """Run the check and write the section."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reviews", type=Path, required=True, help="the unpacked dataset")
    parser.add_argument("--minutes", type=int, default=30)
    parser.add_argument("--clients", type=int, default=64)
    options = parser.parse_args()

    reviews = [review.text for review in LabelledData(options.reviews).part("validation")]
    try:
        samples = soak(reviews, options.clients, options.minutes)
    except LoadError as error:
        print(error, file=sys.stderr)
        return 1
    replace_section(
        RESULTS, "soak", section(machine.command(options.reviews), samples, options.clients)
    )
    reason = failure(samples)
    print(reason or "passed", file=sys.stderr if reason else sys.stdout)
    return int(bool(reason))


if __name__ == "__main__":
    sys.exit(main())
