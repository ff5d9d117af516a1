"""Feedback: labels that people gave to texts of a running model.

A fixed share is held out from training, chosen by a hash of the text: every run, on every machine,
holds out the same texts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from reelsense.datasets.labelled import LabelledData
from reelsense.datasets.reviews import Review, text_key

HELD_OUT_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Conflict:
    """A text with several labels, which is neither trained on nor evaluated."""

    text: str
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TrainingFeedback:
    """Feedback without duplicates and conflicts."""

    train: list[Review]
    held_out: list[Review]
    conflicts: list[Conflict]
    duplicates: int  # rows that repeat the text and the label of an earlier one

    @property
    def texts(self) -> set[str]:
        """The keys (see `text_key`) of all texts that have feedback, with conflicts or not."""
        reviews = (*self.train, *self.held_out)
        texts = [*(r.text for r in reviews), *(conflict.text for conflict in self.conflicts)]
        return set(map(text_key, texts))


def read_feedback(
    path: Path, on_message: Callable[[str], object] = lambda _: None
) -> TrainingFeedback:
    """Read a table with the columns text and label; rows without a label are skipped.

    Texts that differ only in case, spaces and markup count as equal. `on_message` is called with
    what is doubtful. Raises DatasetError if the file cannot be read.
    """
    source = LabelledData(path, "text", "label", on_message=on_message)
    groups: dict[str, list[Review]] = {}
    rows = source.labelled()
    for row in rows:
        groups.setdefault(text_key(row.text), []).append(row)
    agreed, conflicts = [], []
    for group in groups.values():
        labels = tuple(dict.fromkeys(str(row.label) for row in group))
        if len(labels) == 1:
            agreed.append(group[0])
        else:
            conflicts.append(Conflict(group[0].text, labels))
    return TrainingFeedback(
        train=[row for row in agreed if not is_held_out(row.text)],
        held_out=[row for row in agreed if is_held_out(row.text)],
        conflicts=conflicts,
        duplicates=len(rows) - len(agreed) - sum(len(c.labels) for c in conflicts),
    )


def is_held_out(text: str) -> bool:
    """Return whether feedback on `text` is held out from training."""
    digest = hashlib.sha256(text_key(text).encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:8]) < HELD_OUT_SHARE * 2**64
