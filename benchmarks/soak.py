"""Check that the server does not leak memory: half an hour of load from 64 clients.

    python benchmarks/soak.py --reviews data/aclImdb

Runs the `reelsense serve` of this environment as it comes. Ends with 1 if the memory grew or a
request failed. Writes its section of RESULTS.md.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import machine
from load import Load, LoadError, Target, first_answer
from reelsense.datasets.labelled import LabelledData
from rivals.server import Request
from sections import replace_section, table
from serving import RESULTS, ask, read_label

MOST_GROWTH = 0.05
"""Of the memory in the last sixth, on that between a third and half of the time."""

_STEP = 10
"""Seconds between two samples."""

_MINUTE = 60 // _STEP


@dataclass(frozen=True, slots=True)
class Sample:
    """What was seen at the end of a step."""

    memory_mb: float
    answers: int
    """Within the step, errors apart."""
    errors: int


class Texts:
    """Requests for whole reviews, single sentences and several reviews as one text."""

    def __init__(self, reviews: Sequence[str]) -> None:
        self._reviews = reviews

    def __call__(self, number: int) -> Request:
        """Return request `number`. Each is a text of its own, so that no cache answers it."""
        choose = random.Random(number)
        kind = choose.choices(("whole", "sentence", "long"), (60, 30, 10))[0]
        texts = choose.choices(self._reviews, k=choose.randint(3, 12) if kind == "long" else 1)
        if kind == "sentence":
            texts = [choose.choice(re.split(r"(?<=[.!?])\s+", texts[0]))]
        return ask(f"{' '.join(texts)} ({number})")


def growth(memory: Sequence[float]) -> float:
    """Return by what share `memory`, sampled evenly, grew at last: 0.05 for 5 %."""
    count = len(memory)
    middle = memory[count // 3 : max(count // 3 + 1, count // 2)]
    last = memory[-max(1, count // 6) :]
    return fmean(last) / fmean(middle) - 1


def verdict(samples: Sequence[Sample]) -> str:
    """Return what is wrong; "" if nothing is."""
    grown = growth([sample.memory_mb for sample in samples])
    if errors := sum(sample.errors for sample in samples):
        return f"{errors} requests failed"
    if grown > MOST_GROWTH:
        return f"memory grew by {grown:.1%}, more than {MOST_GROWTH:.0%}"
    return ""


def watch(load: Load, tree: machine.Tree, steps: int) -> list[Sample]:
    """Sample `load` and the server, and print a line a minute."""
    start, seen = time.monotonic(), 0
    samples: list[Sample] = []
    while len(samples) < steps and tree.alive():
        time.sleep(max(0.0, start + _STEP * (len(samples) + 1) - time.monotonic()))
        new = load.answers[seen:]
        seen += len(new)
        errors = sum(1 for answer in new if answer.error)
        samples.append(Sample(tree.memory_mb(), len(new) - errors, errors))
        if len(samples) % _MINUTE == 0:
            minute, memory, rate = per_minute(samples)[-1]
            print(f"minute {minute}: {memory} MB, {rate} reviews/s", flush=True)
    return samples


def per_minute(samples: Sequence[Sample]) -> list[list[str]]:
    """Return minute, mean memory and answers a second of each full minute."""
    rows = []
    for end in range(_MINUTE, len(samples) + 1, _MINUTE):
        minute = samples[end - _MINUTE : end]
        memory = fmean(sample.memory_mb for sample in minute)
        rate = sum(sample.answers for sample in minute) / 60
        rows.append([str(end // _MINUTE), f"{memory:.0f}", f"{rate:.1f}"])
    return rows


def soak(reviews: Sequence[str], clients: int, minutes: int) -> list[Sample]:
    """Run the server under load. Raises LoadError if it does not answer, or ends before time."""
    command = [str(Path(sys.executable).with_name("reelsense")), "serve", "--port"]
    target = Target(machine.free_port(), Texts(reviews), read_label)
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch) / "log"
        with machine.running([*command, str(target.port)], os.environ, log) as tree:
            first_answer(target, tree.alive, at_most=60)
            with Load(target, clients) as load:
                samples = watch(load, tree, minutes * _MINUTE)
            if not tree.alive():
                raise LoadError(f"the server ended: {log.read_text(errors='replace')[-500:]}")
    return samples


def section(command: str, samples: Sequence[Sample], clients: int) -> str:
    """Return the section of RESULTS.md."""
    grown = growth([sample.memory_mb for sample in samples])
    result = verdict(samples) or f"passed: memory moved by {grown:+.1%}, and no request failed"
    return "\n\n".join(
        [
            f"## {len(samples) // _MINUTE} minutes of mixed lengths, {clients} clients",
            f"{machine.describe()}.\n`{command}`: whole reviews (60 %), single "
            "sentences (30 %) and 3 to 12 reviews as one text (10 %). Memory is PSS; it is to grow "
            f"by no more than {MOST_GROWTH:.0%} from the mean between a third and half of the time "
            "to that of the last sixth.",
            f"**{result[0].upper()}{result[1:]}.**",
            table(["minute", "MB", "reviews/s"], per_minute(samples)),
        ]
    )


def main() -> int:
    """Soak the server and write the section."""
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
    wrong = verdict(samples)
    print(wrong or "passed", file=sys.stderr if wrong else sys.stdout)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
