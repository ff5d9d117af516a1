"""Order and colours of the labels on the pages: any labels, not only positive and negative."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from reelsense.jobs.job import ERROR
from reelsense.prediction import UNSURE

_COLOURS = 6  # --label-1 to --label-6 in frame.css; the names are always shown beside them


def display_order(labels: Sequence[str]) -> list[str]:
    """Return `labels` in the order of charts and lists.

    Numbers, such as stars, from high to low; otherwise that of the model, but positive first and
    negative last.
    """
    if all(label.isdecimal() for label in labels):
        return sorted(labels, key=int, reverse=True)
    return sorted(labels, key=lambda label: (label == "negative") - (label == "positive"))


def label_class(verdict: str, labels: Collection[str]) -> str:
    """Return the CSS class that sets the colour of a verdict of a model with `labels`.

    Positive is always the first colour and negative the second.
    """
    if verdict not in labels:
        return verdict if verdict in (UNSURE, ERROR) else ""
    order = sorted(labels, key=lambda label: (label != "positive", label != "negative"))
    order = list(labels) if "positive" not in labels else order
    return f"label-{order.index(verdict) % _COLOURS + 1}"
