"""Measure the overhead of scoring files, and how the time grows with the number of rows.

    python benchmarks/files.py --reviews data/aclImdb

Scores whole reviews held out of training in turns with the network alone, and then 1,000, 10,000
and 100,000 sentences of them. Takes eight minutes on two cores. Writes its section of RESULTS.md.
"""

from __future__ import annotations

import argparse
import csv
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import machine
from network import NetworkAlone
from reelsense import Classifier
from reelsense.bulk.score_files import score_files
from reelsense.datasets.labelled import LabelledData
from sections import replace_section, table
from serving import RESULTS


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reviews", type=Path, required=True)
    parser.add_argument("--sample", type=int, default=1500, help="whole reviews, default: 1500")
    parser.add_argument("--rows", default="1000,10000,100000", help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()

    choose = random.Random(0)
    validation = [review.text for review in LabelledData(options.reviews).part("validation")]
    reviews = choose.sample(validation, options.sample)
    classifier = Classifier.load()
    score_file_of(classifier, reviews[:50])
    shares = compared(classifier, reviews, options.rounds)
    growth = [
        (rows, score_file_of(classifier, sentences(validation, rows, choose)))
        for rows in map(int, options.rows.split(","))
    ]
    text = section(machine.command(options.reviews), options.sample, shares, growth)
    print(text)
    replace_section(RESULTS, "files", text)


def compared(classifier: Classifier, reviews: Sequence[str], rounds: int) -> list[float]:
    """Return the rate of scoring a file over that of the network alone, in turns."""
    network, shares = NetworkAlone(reviews), []
    for _ in range(rounds):
        alone = network.rate().reviews_per_s
        file = len(reviews) / score_file_of(classifier, reviews)
        shares.append(file / alone)
        print(f"network {alone:.1f}, file {file:.1f} reviews/s", flush=True)
    return shares


def score_file_of(classifier: Classifier, texts: Sequence[str]) -> float:
    """Return the seconds that a .csv of `texts` takes, read and written."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "texts.csv"
        with source.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["text"], *([text] for text in texts)])
        start = time.perf_counter()
        score_files(source, f"{folder}/scored.csv", model=classifier)
        return time.perf_counter() - start


def sentences(reviews: Sequence[str], rows: int, choose: random.Random) -> list[str]:
    """Return `rows` stretches of twenty words from `reviews`."""
    found = []
    for words in (review.split() for review in choose.choices(reviews, k=rows)):
        start = choose.randint(0, max(0, len(words) - 20))
        found.append(" ".join(words[start : start + 20]))
    return found


def section(
    command: str, sample: int, shares: Sequence[float], growth: Sequence[tuple[int, float]]
) -> str:
    """Return the Markdown of what was measured."""
    rows = [[f"{rows:,}", f"{spent:.1f}", f"{spent / rows * 1000:.2f}"] for rows, spent in growth]
    low, high = min(shares), max(shares)
    return "\n".join(
        [
            "## Scoring a file",
            f"{machine.describe()}. `{command}`",
            "",
            f"A .csv of {sample:,} whole reviews is scored at **{median(shares):.1%}** of the rate "
            f"of the network alone ({low:.1%} to {high:.1%} in {len(shares)} turns); at least 95 % "
            "is the target. Rows of 20 words:",
            "",
            table(["rows", "seconds", "ms a row"], rows),
        ]
    )


if __name__ == "__main__":
    main()
