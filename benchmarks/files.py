"""Measure the overhead of scoring files, and how the time grows with the number of rows.

    python benchmarks/files.py --reviews data/aclImdb

Scores reviews of the validation set in turns with the network alone, and then 1,000, 10,000 and
100,000 excerpts of them. Takes eight minutes on two cores. Writes its section of RESULTS.md.
"""

from __future__ import annotations

import argparse
import csv
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import machine
from machine import seconds
from network import NetworkAlone
from reelsense import Classifier
from reelsense.bulk.score_files import score_files
from reelsense.datasets.labelled import LabelledData
from sections import replace_section, table
from serving import RESULTS


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reviews", type=Path, required=True, help="the unpacked dataset")
    parser.add_argument("--sample", type=int, default=1500, help="reviews, default: 1500")
    parser.add_argument("--rows", default="1000,10000,100000", help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()

    random_state = random.Random(0)
    validation = [review.text for review in LabelledData(options.reviews).part("validation")]
    reviews = random_state.sample(validation, options.sample)
    classifier = Classifier.load()
    file_seconds(classifier, reviews[:50])  # warms up
    shares = compare(classifier, reviews, options.rounds)
    growth = [
        (rows, file_seconds(classifier, excerpts(validation, rows, random_state)))
        for rows in map(int, options.rows.split(","))
    ]
    text = section(machine.command(options.reviews), options.sample, shares, growth)
    print(text)
    replace_section(RESULTS, "files", text)


def compare(classifier: Classifier, reviews: Sequence[str], rounds: int) -> list[float]:
    """Return the rate of scoring a file relative to that of the network alone, by round."""
    network, shares = NetworkAlone(reviews), []
    for _ in range(rounds):
        network_rate = network.rate().reviews_per_s
        file_rate = len(reviews) / file_seconds(classifier, reviews)
        shares.append(file_rate / network_rate)
        print(f"network {network_rate:.1f}, file {file_rate:.1f} reviews/s", flush=True)
    return shares


def file_seconds(classifier: Classifier, texts: Sequence[str]) -> float:
    """Return the seconds for a .csv of `texts`, with reading and writing."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "texts.csv"
        with source.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["text"], *([text] for text in texts)])
        return seconds(lambda: score_files(source, f"{folder}/scored.csv", model=classifier))


def excerpts(reviews: Sequence[str], rows: int, random_state: random.Random) -> list[str]:
    """Return `rows` excerpts of twenty words from `reviews`."""
    texts = []
    for words in (review.split() for review in random_state.choices(reviews, k=rows)):
        start = random_state.randint(0, max(0, len(words) - 20))
        texts.append(" ".join(words[start : start + 20]))
    return texts


def section(
    command: str, sample: int, shares: Sequence[float], growth: Sequence[tuple[int, float]]
) -> str:
    """Return the section of RESULTS.md."""
    rows = [
        [f"{rows:,}", f"{duration:.1f}", f"{duration / rows * 1000:.2f}"]
        for rows, duration in growth
    ]
    return "\n".join(
        [
            "## Scoring a file",
            f"{machine.describe()}. `{command}`",
            "",
            f"A .csv of {sample:,} untruncated reviews is scored at **{median(shares):.1%}** of "
            f"the rate of the network alone ({min(shares):.1%} to {max(shares):.1%} in "
            f"{len(shares)} rounds); the target is at least 95 %. Rows of 20 words:",
            "",
            table(["rows", "seconds", "ms per row"], rows),
        ]
    )


if __name__ == "__main__":
    main()
