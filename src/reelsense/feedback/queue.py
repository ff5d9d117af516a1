"""The review queue: the predictions that people should check next, and why.

A fixed quarter of the predictions is drawn at random. The queue asks for their labels whatever the
model said, and whatever feedback they have, so that they measure the accuracy without bias. Of the
others, it asks for those that are unsure, and those that contradict a label. The chosen labels are
stored as feedback, whose source names the queue and the reason.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import Select, and_, exists, func, null, select

from reelsense.feedback.records import ID_PATTERN
from reelsense.jobs.database import Database
from reelsense.jobs.models import feedback, predictions
from reelsense.prediction import UNSURE

RANDOM, SUSPECT = "random", "suspect"
REASONS = (RANDOM, UNSURE, SUSPECT)
"""Why an item is in the queue."""

PREDICTIONS, ROWS = "queue", "job-queue"
"""The queues of stored predictions, and of rows of jobs."""

SOURCES = tuple(f"{queue}-{reason}" for queue in (PREDICTIONS, ROWS) for reason in REASONS)
"""The sources of feedback from the queues."""

RANDOM_SOURCES = (f"{PREDICTIONS}-{RANDOM}", f"{ROWS}-{RANDOM}")

# Ids of predictions are random. Those with these first characters, 16 of 64, are a random quarter.
_RANDOM_IDS = "ABCDEFGHIJKLMNOP"


@dataclass(frozen=True, slots=True)
class QueueItem:
    """A prediction to check."""

    key: str  # id of the prediction, or number of the row
    reason: str
    text: str
    label: str
    score: float
    verdict: str
    given: str | None = None  # a label that contradicts it


class ReviewQueue(Protocol):
    """The predictions to check. Methods raise StoreError."""

    name: str  # PREDICTIONS or ROWS

    def keys(self, skipped: Collection[str], limit: int) -> dict[str, list[str]]:
        """Return at most `limit` keys for each reason, always in the same order."""

    def find(self, key: str) -> QueueItem | None:
        """Return an item; None: it does not exist, or has been reviewed."""

    def prediction_id(self, item: QueueItem) -> str:
        """Return the id of the stored prediction; store it if necessary."""


def next_item(
    queue: ReviewQueue, turn: int, skipped: Collection[str], limit: int
) -> tuple[QueueItem | None, int]:
    """Return the item for a turn, and how many items are left, at most `limit`.

    The reasons take turns, so that the same turn has the same item until that is reviewed.
    """
    keys = queue.keys(skipped, limit)
    left = min(limit, sum(map(len, keys.values())))
    for n in range(len(REASONS)):
        for key in keys[REASONS[(turn + n) % len(REASONS)]]:
            if item := queue.find(key):
                return item, left
    return None, 0


class PredictionQueue:
    """The stored predictions of a version of the model that have a text, in the order of their ids.

    The ids are random, so this order is random too, and new predictions do not change it.
    """

    name = PREDICTIONS

    def __init__(self, database: Database, version: str) -> None:
        self._database, self._version = database, version

    def keys(self, skipped: Collection[str], limit: int) -> dict[str, list[str]]:
        """See `ReviewQueue`."""
        with self._database.reading() as connection:

            def first(reason: str) -> list[str]:
                # For suspects, the database should start from the feedback: it has less.
                key = feedback.c.prediction_id if reason == SUSPECT else predictions.c.id
                query = self._waiting(reason).with_only_columns(key).where(key.not_in(skipped))
                return list(connection.scalars(query.distinct().order_by(key).limit(limit)))

            return {reason: first(reason) for reason in REASONS}

    def find(self, key: str) -> QueueItem | None:
        """See `ReviewQueue`."""
        if not re.fullmatch(ID_PATTERN, key):
            return None
        with self._database.reading() as connection:
            for reason in REASONS:
                query = self._waiting(reason).where(predictions.c.id == key).limit(1)
                if record := connection.execute(query).mappings().first():
                    names = ("text", "label", "score", "verdict", "given")
                    return QueueItem(key, reason, **{name: record[name] for name in names})
        return None

    def prediction_id(self, item: QueueItem) -> str:
        """See `ReviewQueue`."""
        return item.key

    def _waiting(self, reason: str) -> Select[Any]:
        """Return the query for the predictions to check for a reason."""
        review, same_text = feedback.alias(), feedback.alias()
        reviewed = exists().where(
            review.c.prediction_id == predictions.c.id, review.c.source.in_(SOURCES)
        )
        # Without a share, they were not stored at random.
        drawn = and_(
            func.substr(predictions.c.id, 1, 1).in_(tuple(_RANDOM_IDS)),
            predictions.c.share.is_not(None),
        )
        given = feedback.c.label if reason == SUSPECT else null()
        query = select(predictions, given.label("given")).where(
            predictions.c.version == self._version, predictions.c.text.is_not(None)
        )
        if reason == RANDOM:
            return query.where(drawn, ~reviewed)
        if reason == UNSURE:
            labelled = exists().where(
                same_text.c.text_hash == predictions.c.text_hash, same_text.c.label.is_not(None)
            )
            return query.where(~drawn, predictions.c.verdict == UNSURE, ~labelled)
        return query.join(feedback, feedback.c.prediction_id == predictions.c.id).where(
            ~drawn,
            predictions.c.verdict != UNSURE,
            feedback.c.label != predictions.c.label,
            ~reviewed,
        )
