"""Measure the latency of explanations, in milliseconds and relative to a prediction.

    python benchmarks/explaining.py --reviews data/aclImdb

For each review of the validation set: the median of three predictions, then the explanation. Takes
two minutes on two cores. Writes its section of RESULTS.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

import machine
from machine import seconds
from reelsense import Classifier
from reference import sample_texts
from sections import replace_section, table
from serving import RESULTS

TARGET, AIM = (
    20,
    8,
)  # maximum duration of an explanation, in predictions of the same review (median)


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds for one review."""

    prediction: float
    explanation: float
    forward_passes: int


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reviews", type=Path, required=True, help="the unpacked dataset")
    parser.add_argument("--sample", type=int, default=500, help="reviews, default: 500")
    options = parser.parse_args()
    texts = sample_texts(options.reviews, "validation", options.sample)
    classifier = Classifier.load()
    for text in texts[:10]:  # warm up
        classifier.explain(text)
    latencies = [measure(classifier, text) for text in texts]
    text = section(machine.command(options.reviews), latencies)
    print(text)
    replace_section(RESULTS, "explaining", text)


def measure(classifier: Classifier, text: str) -> Latency:
    """Measure the prediction and the explanation of `text`."""
    predictions = [seconds(lambda: classifier.predict([text])) for _ in range(3)]
    explanation = seconds(lambda: classifier.explain(text))
    return Latency(median(predictions), explanation, classifier.explain(text).forward_passes)


def section(command: str, latencies: Sequence[Latency]) -> str:
    """Return the section of RESULTS.md."""
    ratios = [latency.explanation / latency.prediction for latency in latencies]
    rows = [
        ("prediction, ms", [1000 * latency.prediction for latency in latencies]),
        ("explanation, ms", [1000 * latency.explanation for latency in latencies]),
        ("explanation / prediction", ratios),
        ("forward passes", [float(latency.forward_passes) for latency in latencies]),
    ]
    cells = [
        [name, *(f"{value:.1f}" for value in (*quantiles(values), quantiles(values, n=10)[-1]))]
        for name, values in rows
    ]
    middle = median(ratios)
    return "\n".join(
        [
            "## Explanations",
            f"`{command}`: {len(latencies)} untruncated reviews, {machine.describe()}.",
            "",
            table(["", "p25", "p50", "p75", "p90"], cells),
            "",
            f"Target, at most {TARGET} predictions (median): "
            f"{'met' if middle <= TARGET else 'missed'}. Aim, at most {AIM}: "
            f"{'met' if middle <= AIM else 'missed'}.",
        ]
    )


if __name__ == "__main__":
    main()
