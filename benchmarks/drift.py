"""Demonstrate the alerts for drift: false alarms, and texts until an alert.

    python benchmarks/drift.py --data data/aclImdb --sentences data/evaluation-sets/sst2/dev.tsv

False alarms are counted on validation reviews of other films than those of the reference profile,
which is made of a random half of the films for each sample. With --split test, the samples are
drawn from official test reviews, which must be noted in docs/test-set-uses.md; only their texts are
used. Predictions are cached in --cache, by version of the model: the first run takes some minutes
on two cores, the next ones a few seconds.
"""

from __future__ import annotations

import argparse
import csv
import io
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from random import Random

import numpy as np

from reelsense import Classifier
from reelsense.bundle import DEFAULT_BUNDLE, read_bundle
from reelsense.datasets.labelled import LabelledData
from reelsense.datasets.reviews import Review
from reelsense.drift.profile import MAX_ROWS, Rows, parse, prediction_rows
from reelsense.drift.report import ALERTS, NONE, DriftReport, compare
from reelsense.evaluation.scorer import in_batches
from reelsense.server.drift import WINDOW

ROOT = Path(__file__).parent.parent

_REVIEWS = 3000  # that are resampled
_RESAMPLES = 200
_STREAMS = 20  # of each kind
_STEP = 10  # texts between two checks of a stream
_MAX_TEXTS = 500


def foreign_reviews() -> list[str]:
    """Return invented reviews in four languages, in random order."""
    sentences = tomllib.loads((ROOT / "benchmarks/foreign_reviews.toml").read_text("utf-8"))
    texts = [" ".join(parts) for lists in sentences.values() for parts in product(*lists.values())]
    return Random(1).sample(texts, len(texts))


def tickets() -> list[str]:
    """Return invented support tickets."""
    command = [sys.executable, str(ROOT / "docs/tickets.py"), "1000", "1"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    return [row["body"] for row in csv.DictReader(io.StringIO(done.stdout))]


def sentences(path: Path) -> list[str]:
    """Return the sentences of an SST-2 table."""
    lines = path.read_text(encoding="utf-8").splitlines()[1:]
    return [line.split("\t")[0].strip() for line in lines]


def reviews(data: Path, split: str) -> list[Review]:
    """Return the reviews of `split`, or a random sample of them."""
    part = LabelledData(data).part(split)
    return part if len(part) <= _REVIEWS else Random(1).sample(part, _REVIEWS)


class Demonstration:
    """Draws samples and streams, and compares them with the reference profile of a model."""

    def __init__(self, model: Path, cache: Path) -> None:
        """Read the model; rows of its predictions are stored in `cache`."""
        self._bundle = read_bundle(model)
        self.manifest = self._bundle.manifest
        if self._bundle.profile is None:
            raise SystemExit(f"{model} has no reference profile")
        self._reference = parse(self._bundle.profile, self.manifest.labels)
        self._cache = cache / self.manifest.version
        self._classifier: Classifier | None = None

    def rows(self, name: str, read: Callable[[], list[str]]) -> Rows:
        """Return the rows of the texts that `read` returns, from the cache if they are there."""
        path = self._cache / f"{name}.npy"
        if not path.exists():
            classifier = self._classifier = self._classifier or Classifier(self._bundle)
            texts = read()
            batches = in_batches(classifier.predict, texts, name)
            predictions = [prediction for batch in batches for prediction in batch]
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, prediction_rows(self.manifest, texts, predictions))
        return np.asarray(np.load(path))

    def compare(self, rows: Rows, reference: Rows | None = None) -> DriftReport:
        """Compare `rows` with `reference`, by default the reference profile of the bundle."""
        return compare(self.manifest, self._reference if reference is None else reference, rows)

    def false_alarms(
        self, usual: Rows, size: int, films: Sequence[str] | None = None
    ) -> Counter[str]:
        """Return the alerts on samples of `size` of the `usual` reviews.

        With `films`, one for each review, a random half of them is the reference.
        """
        alerts: Counter[str] = Counter()
        for seed in range(_RESAMPLES):
            random, others, reference = np.random.default_rng(seed), usual, None
            if films is not None:
                names = np.unique(films)
                half = np.isin(films, random.permutation(names)[: len(names) // 2])
                reference, others = random.permutation(usual[half])[:MAX_ROWS], usual[~half]
            sample = random.choice(others, size, replace=False)
            alerts[self.compare(sample, reference).alert] += 1
        return alerts

    def texts_until_alert(self, usual: Rows, changed: Sequence[Rows]) -> list[int | None]:
        """Return the number of new texts until an alert, in streams that start with usual ones.

        The server compares the last WINDOW texts. None: not within _MAX_TEXTS.
        """
        numbers: list[int | None] = []
        for seed, new in enumerate(changed):
            before = np.random.default_rng(seed).choice(usual, WINDOW, replace=False)
            stream = np.concatenate([before, new[:_MAX_TEXTS]])
            alerts = (
                count
                for count in range(_STEP, _MAX_TEXTS + 1, _STEP)
                if self.compare(stream[count : count + WINDOW]).alert != NONE
            )
            numbers.append(next(alerts, None))
        return numbers


def shuffled(rows: Rows) -> list[Rows]:
    """Return _STREAMS random orders of `rows`."""
    return [np.random.default_rng(seed).permutation(rows) for seed in range(_STREAMS)]


def mostly_negative(usual: Rows, label: int) -> list[Rows]:
    """Return streams of reviews of which 80 % are predicted to have the label."""
    matches = usual["label"] == label
    streams = []
    for seed in range(_STREAMS):
        random = np.random.default_rng(seed)
        parts = [
            random.choice(usual[chosen], round(share * _MAX_TEXTS), replace=True)
            for chosen, share in ((matches, 0.8), (~matches, 0.2))
        ]
        streams.append(random.permutation(np.concatenate(parts)))
    return streams


def main() -> None:
    """Print the share of false alarms, and the texts until an alert for each kind of change."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sentences", type=Path, required=True, help="dev.tsv of SST-2")
    parser.add_argument("--split", choices=["validation", "test"], default="validation")
    parser.add_argument("--model", type=Path, default=DEFAULT_BUNDLE, help="a bundle")
    parser.add_argument("--cache", type=Path, default=Path("runs/drift"))
    options = parser.parse_args()

    demonstration = Demonstration(options.model, options.cache)
    part = reviews(options.data, options.split)
    usual = demonstration.rows(options.split, lambda: [review.text for review in part])
    films = [review.group for review in part] if options.split == "validation" else None
    print(f"{demonstration.manifest.name} {demonstration.manifest.version}")
    for size in (30, 100, _MAX_TEXTS):
        alerts = demonstration.false_alarms(usual, size, films)
        counts = ", ".join(f"{alert} {alerts[alert]}" for alert in ALERTS)
        print(f"{_RESAMPLES} samples of {size} of {len(usual):,} {options.split} reviews: {counts}")
    changes = {
        "SST-2 sentences": shuffled(
            demonstration.rows("sentences", lambda: sentences(options.sentences))
        ),
        "invented reviews in German, French, Spanish and Italian": shuffled(
            demonstration.rows("foreign", foreign_reviews)
        ),
        "80 % negative reviews": mostly_negative(
            usual, demonstration.manifest.labels.index("negative")
        ),
        "invented support tickets": shuffled(demonstration.rows("tickets", tickets)),
    }
    for name, streams in changes.items():
        numbers = demonstration.texts_until_alert(usual, streams)
        found = [number for number in numbers if number is not None]
        print(
            f"{name}: alert in {len(found)} of {len(numbers)} streams, after "
            f"{min(found, default=0)} to {max(found, default=0)} texts"
        )
        report = demonstration.compare(streams[0][:_MAX_TEXTS])
        print(f"  {_MAX_TEXTS} of them: {report.alert}: {report.reason}")


if __name__ == "__main__":
    main()
