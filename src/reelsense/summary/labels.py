"""Order and colours of the labels on the pages: any labels, not only positive and negative."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from reelsense.prediction import ERROR, UNSURE

# --label-1 to --label-6 in frame.css, and the classes rank-1 to rank-5. The names of the labels are
# always shown beside their colours.
_COLOURS, _RANKS = 6, 5


def display_order(labels: Iterable[str]) -> list[str]:
    """Return `labels` in the order of charts and lists.

    Numbers, such as stars, from high to low; otherwise that of the model, but positive first and
    negative last.
    """
    labels = list(labels)
    if _are_numbers(labels):
        return sorted(labels, key=int, reverse=True)
    return sorted(labels, key=lambda label: (label == "negative") - (label == "positive"))


def label_class(verdict: str, labels: Iterable[str]) -> str:
    """Return the CSS class that sets the colour of a verdict of a model with `labels`.

    Positive is always the first colour and negative the second.
    """
    order = display_order(labels)
    if verdict not in order:
        return verdict if verdict in (UNSURE, ERROR) else ""
    if _are_numbers(order):
        return f"rank-{1 + round((_RANKS - 1) * order.index(verdict) / max(1, len(order) - 1))}"
    if "positive" in order:
        order.sort(key=lambda label: (label != "positive", label != "negative"))
    return f"label-{order.index(verdict) % _COLOURS + 1}"


def _are_numbers(labels: Collection[str]) -> bool:
    return all(label.isdecimal() for label in labels)
