"""Score labelled reviews with a classifier and measure the answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from reelsense.datasets.reviews import Review
from reelsense.evaluation.metrics import Metrics, measure
from reelsense.inference.classifier import Classifier

_STEP = 256


def evaluate(classifier: Classifier, reviews: Sequence[Review]) -> Metrics:
    """Return the metrics of `classifier` on those of `reviews` that carry a label."""
    labelled = [review for review in reviews if review.label is not None]
    truth = [review.label for review in labelled if review.label is not None]
    return measure(truth, _probabilities(classifier, [r.text for r in labelled]), classifier.labels)


def _probabilities(classifier: Classifier, texts: Sequence[str]) -> NDArray[np.float64]:
    parts = [np.empty((0, len(classifier.labels)))]
    with tqdm(total=len(texts), unit=" reviews", desc="scoring") as bar:
        for start in range(0, len(texts), _STEP):
            parts.append(classifier.predict_proba(texts[start : start + _STEP]))
            bar.update(len(parts[-1]))
    return np.concatenate(parts)


def as_text(metrics: Metrics) -> str:
    """Return `metrics` as a table for people."""
    rows = [
        ("reviews", f"{metrics.reviews:,}"),
        ("accuracy", f"{metrics.accuracy:.2%}"),
        ("macro-F1", f"{metrics.macro_f1:.2%}"),
        ("AUROC", "-" if metrics.auroc is None else f"{metrics.auroc:.4f}"),
        ("log-loss", f"{metrics.log_loss:.4f}"),
        ("ECE (15 bins)", f"{metrics.ece:.2%}"),
    ]
    width = max(9, *map(len, metrics.labels))
    head = " ".join(f"{label:>{width}}" for label in metrics.labels)
    lines = [f"{name:<{width + 10}} {value:>10}" for name, value in rows]
    lines += ["", f"{'truth / answer':<{width + 10}} {head}"]
    for label, counts in zip(metrics.labels, metrics.confusion, strict=True):
        lines.append(f"{label:<{width + 10}} " + " ".join(f"{n:>{width},}" for n in counts))
    return "\n".join(lines)
