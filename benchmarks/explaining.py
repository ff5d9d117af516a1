"""Measure the latency of explanations, in milliseconds and relative to a prediction.

    python benchmarks/explaining.py --reviews data/aclImdb

Of whole reviews held out of training, one after the other: the middle of three predictions, then
the explanation. Takes two minutes on two cores. Writes its section of RESULTS.md.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

import machine
from reelsense import Classifier
from reelsense.datasets.labelled import LabelledData
from sections import replace_section, table
from serving import RESULTS

MOST, AIM = 20, 8
"""Predictions of the same review that an explanation is to take, at the median."""


@dataclass(frozen=True, slots=True)
class Taken:
    """Of one review, seconds."""

    prediction: float
    explanation: float
    forward_passes: int


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reviews", type=Path, required=True)
    parser.add_argument("--sample", type=int, default=500, help="whole reviews, default: 500")
    options = parser.parse_args()
    validation = [review.text for review in LabelledData(options.reviews).part("validation")]
    texts = random.Random(0).sample(validation, options.sample)
    classifier = Classifier.load()
    for text in texts[:10]:
        classifier.explain(text)
    text = section(machine.command(options.reviews), [measured(classifier, text) for text in texts])
    print(text)
    replace_section(RESULTS, "explaining", text)


def measured(classifier: Classifier, text: str) -> Taken:
    """Time the prediction and the explanation of `text`."""
    predictions = [seconds(lambda: classifier.predict([text])) for _ in range(3)]
    explanation = seconds(lambda: classifier.explain(text))
    return Taken(median(predictions), explanation, classifier.explain(text).forward_passes)


def seconds(call: Callable[[], object]) -> float:
    """Return how long `call` takes."""
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def section(command: str, taken: Sequence[Taken]) -> str:
    """Return the section of RESULTS.md."""
    rows = [
        ("a prediction, ms", [1000 * each.prediction for each in taken]),
        ("its explanation, ms", [1000 * each.explanation for each in taken]),
        (
            "the second in units of the first",
            [each.explanation / each.prediction for each in taken],
        ),
        ("windows read for it", [float(each.forward_passes) for each in taken]),
    ]
    cells = [
        [name, *(f"{x:.1f}" for x in (*quantiles(values), quantiles(values, n=10)[-1]))]
        for name, values in rows
    ]
    middle = median(each.explanation / each.prediction for each in taken)
    return "\n".join(
        [
            "## Explanations",
            f"`{command}`: {len(taken)} whole reviews, {machine.describe()}.",
            "",
            table(["", "a quarter below", "median", "a quarter above", "a tenth above"], cells),
            "",
            f"At most {MOST} predictions at the median: {'yes' if middle <= MOST else 'no'}. "
            f"The aim, {AIM}: {'yes' if middle <= AIM else 'no'}.",
        ]
    )


if __name__ == "__main__":
    main()
