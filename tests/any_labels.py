"""Bundles with labels other than positive and negative, small enough to build in memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from reelsense.bundle import Bundle
from tests import tiny, tiny_network

TICKETS = {
    "billing": ["invoice", "charged", "refund"],
    "bug": ["crash", "broken", "error"],
    "praise": ["love", "thanks", "great"],
}
STARS = {
    str(stars): [word]
    for stars, word in enumerate(["awful", "bad", "fair", "good", "nice", "great", "joy"], start=1)
}
EXAMPLES = {
    "billing": "I was charged twice. Please send a new invoice and a refund.",
    "bug": "The export is broken. It ends with an error, and then a crash.",
    "praise": "I love the new editor. Thanks for the great work.",
}


def bundle(words: dict[str, list[str]] = TICKETS, *, name: str = "tickets") -> Bundle:
    """Return a bundle whose labels have `words` that speak for them; others are neutral."""
    labels = tuple(words)
    known = [*tiny.SPECIAL, "the", *(word for listed in words.values() for word in listed)]
    vocabulary = {token: n for n, token in enumerate(known)}
    weights = np.zeros((len(known), len(labels)), dtype=np.float32)
    for column, listed in enumerate(words.values()):
        weights[[vocabulary[word] for word in listed], column] = 2
    base = tiny.bundle(labels, window=64, network=tiny_network.sum_of_rows(weights))
    manifest = replace(base.manifest, name=name)
    return replace(base, manifest=manifest, tokenizer=tiny.tokenizer_json(vocabulary=vocabulary))


def tickets() -> Bundle:
    """Return a bundle for support tickets, with unit, title and examples."""
    base = bundle()
    manifest = replace(
        base.manifest, title="Who answers this ticket?", unit="ticket", examples=EXAMPLES
    )
    manifest = replace(manifest, risk_control=tiny.RISKS)
    return replace(base, manifest=manifest)
