"""Stores predictions and feedback in the database."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select
from sqlalchemy.exc import IntegrityError

from reelsense.errors import FeedbackError, NoPredictionError, StoreError
from reelsense.feedback.records import (
    Feedback,
    KeptPrediction,
    NewFeedback,
    Predicted,
    new_id,
    storable,
    text_hash,
)
from reelsense.jobs.database import Database
from reelsense.jobs.models import feedback, predictions

_PREDICTED = [field.name for field in fields(Predicted)]
_PLAIN = [field.name for field in fields(Feedback) if field.name not in ("text", "predicted")]

STORED = select(
    *(feedback.c[name] for name in _PLAIN),
    func.coalesce(feedback.c.text, predictions.c.text).label("text"),
    *(predictions.c[name].label(f"predicted_{name}") for name in _PREDICTED),
).select_from(feedback.outerjoin(predictions, predictions.c.id == feedback.c.prediction_id))
"""Query for all feedback with the predictions that it refers to; see `feedback_from_record`."""


class FeedbackRepository:
    """The predictions and the feedback in a database. Methods raise StoreError if it fails.

    Args:
        database: The database.
        keep_texts: Store texts; otherwise only their hashes.
        now: Returns the time in seconds since 1970.
    """

    def __init__(
        self,
        database: Database,
        *,
        keep_texts: bool = False,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.database, self._keep_texts, self._now = database, keep_texts, now

    def add_predictions(self, kept: Iterable[KeptPrediction]) -> None:
        """Store predictions."""
        records = [self._prediction_record(prediction) for prediction in kept]
        self.database.check_space()
        with self.database.writing() as connection:
            connection.execute(insert(predictions), records)

    def add_missing(self, kept: KeptPrediction) -> None:
        """Store a prediction, unless one with its id is stored already."""
        self.database.check_space()
        with self.database.writing() as connection:
            stored = select(predictions.c.id).where(predictions.c.id == kept.id)
            if connection.scalar(stored) is None:
                connection.execute(insert(predictions), self._prediction_record(kept))

    def _prediction_record(self, kept: KeptPrediction) -> dict[str, Any]:
        names = ("id", "created", "model", "version", "share")
        values = ("label", "score", "verdict", "stars", "probabilities")
        return {
            "text_hash": text_hash(kept.text),
            "text": storable(kept.text) if self._keep_texts else None,
            **{name: getattr(kept, name) for name in names},
            **{name: getattr(kept.prediction, name) for name in values},
        }

    def add(self, items: Sequence[NewFeedback]) -> list[Feedback | FeedbackError]:
        """Store feedback durably, in one transaction. Return it, or why it was rejected.

        Feedback with an idempotency key that was used before is not stored again.
        """
        self.database.check_space()
        try:
            return self._add(items)
        except StoreError as error:
            # Another process has just stored the same idempotency key.
            if not isinstance(error.__cause__, IntegrityError):
                raise
            return [outcome for item in items for outcome in self._add([item])]

    def _add(self, items: Sequence[NewFeedback]) -> list[Feedback | FeedbackError]:
        outcomes: list[str | FeedbackError] = []
        records: list[dict[str, Any]] = []
        with self.database.writing(durable=True) as connection:
            hashes = _text_hashes(connection, items)
            used = _used_keys(connection, items)
            for item in items:
                record = self._record(item, hashes)
                earlier = used.get(item.idempotency_hash)
                if earlier:
                    outcomes.append(_outcome(earlier, record))
                elif record["text_hash"] is None:
                    outcomes.append(_no_prediction(item))
                else:
                    records.append(record)
                    outcomes.append(record["id"])
                    if item.idempotency_hash:
                        used[item.idempotency_hash] = record
            if records:
                connection.execute(insert(feedback), records)
            plain = (record for record in records if not record["prediction_id"])
            stored = {record["id"]: feedback_from_record(record) for record in plain}
            ids = {outcome for outcome in outcomes if isinstance(outcome, str)} - stored.keys()
            if ids:
                rows = connection.execute(STORED.where(feedback.c.id.in_(ids))).mappings()
                stored |= {row["id"]: feedback_from_record(row) for row in rows}
        return [stored[outcome] if isinstance(outcome, str) else outcome for outcome in outcomes]

    def _record(self, item: NewFeedback, hashes: Mapping[str, str]) -> dict[str, Any]:
        record = asdict(item) | {
            "id": new_id(),
            "created": round(self._now(), 6),
            "digest": item.digest,
        }
        record["idempotency_hash"] = item.idempotency_hash
        del record["idempotency_key"]
        if item.text is None:
            record["text_hash"] = hashes.get(item.prediction_id or "")
        else:
            record["text_hash"] = text_hash(item.text)
            record["text"] = storable(item.text) if self._keep_texts else None
        if item.comment is not None:
            record["comment"] = storable(item.comment)
        return record | {"source": storable(item.source)}

    def remove(self, feedback_id: str, key: str | None) -> bool:
        """Delete feedback that the API key named `key` has sent. Return whether it existed."""
        change = delete(feedback).where(
            feedback.c.id == feedback_id,
            feedback.c.key.is_(None) if key is None else feedback.c.key == key,
        )
        with self.database.writing(durable=True) as connection:
            return connection.execute(change).rowcount > 0


def feedback_from_record(record: Mapping[Any, Any]) -> Feedback:
    """Return the feedback of a record of `STORED`, or of one without a prediction."""
    predicted = None
    if record.get("predicted_version") is not None:
        predicted = Predicted(**{name: record[f"predicted_{name}"] for name in _PREDICTED})
    plain = {name: record[name] for name in _PLAIN}
    return Feedback(**plain, text=record["text"], predicted=predicted)


def _text_hashes(connection: Connection, items: Iterable[NewFeedback]) -> dict[str, str]:
    """Return the hashes of the texts of stored predictions, by the id of the prediction."""
    ids = {item.prediction_id for item in items if item.prediction_id and item.text is None}
    query = select(predictions.c.id, predictions.c.text_hash).where(predictions.c.id.in_(ids))
    return {row.id: row.text_hash for row in connection.execute(query)} if ids else {}


def _used_keys(
    connection: Connection, items: Iterable[NewFeedback]
) -> dict[Any, Mapping[Any, Any]]:
    """Return id and digest of the feedback with the same idempotency keys, by their hash."""
    hashes = {item.idempotency_hash for item in items} - {None}
    columns = (feedback.c.idempotency_hash, feedback.c.id, feedback.c.digest)
    query = select(*columns).where(feedback.c.idempotency_hash.in_(hashes))
    rows = connection.execute(query).mappings() if hashes else ()
    return {row["idempotency_hash"]: row for row in rows}


def _outcome(earlier: Mapping[Any, Any], record: Mapping[str, Any]) -> str | FeedbackError:
    if earlier["digest"] == record["digest"]:
        return str(earlier["id"])
    return FeedbackError(
        "the Idempotency-Key was used for other feedback: send a new one", code="reused-key"
    )


def _no_prediction(item: NewFeedback) -> NoPredictionError:
    return NoPredictionError(
        f"prediction {item.prediction_id} is not stored: it was deleted, or the id is wrong; send "
        "the text instead"
    )
