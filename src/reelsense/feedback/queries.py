"""List, count and delete stored predictions and feedback."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    case,
    delete,
    exists,
    func,
    or_,
    select,
    true,
    tuple_,
)

from reelsense.feedback.queue import RANDOM_SOURCES, SOURCES
from reelsense.feedback.records import Feedback, storable, text_hash
from reelsense.feedback.repository import STORED, feedback_from_record
from reelsense.jobs.database import Database
from reelsense.jobs.models import feedback, predictions
from reelsense.report.results import Share

_CHUNK_ROWS = 5000  # read or deleted in one transaction, so that others do not wait long


@dataclass(frozen=True, slots=True)
class FeedbackQuery:
    """Filter and page of the feedback to list. None: any. Times are seconds since 1970."""

    label: str | None = None
    source: str | None = None
    version: str | None = None  # of the model that made the prediction
    since: float | None = None
    before: float | None = None
    differs: bool = False  # only feedback whose label differs from the prediction
    for_training: bool = False  # only feedback with text and label; that from the queue prevails
    offset: int = 0
    limit: int | None = 50

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the conditions on `STORED`."""
        conditions: list[ColumnElement[bool]] = [true()]
        for column, value in (
            (feedback.c.label, self.label),
            (feedback.c.source, self.source),
            (predictions.c.version, self.version),
        ):
            if value is not None:
                conditions.append(column == storable(value))
        if self.since is not None:
            conditions.append(feedback.c.created >= self.since)
        if self.before is not None:
            conditions.append(feedback.c.created < self.before)
        if self.differs:
            conditions.append(feedback.c.label != predictions.c.label)
        if self.for_training:
            text, review = func.coalesce(feedback.c.text, predictions.c.text), feedback.alias()
            reviewed = exists().where(
                review.c.text_hash == feedback.c.text_hash, review.c.source.in_(SOURCES)
            )
            conditions += [text.is_not(None), feedback.c.label.is_not(None)]
            conditions.append(feedback.c.source.in_(SOURCES) | ~reviewed)
        return conditions


@dataclass(frozen=True, slots=True)
class FeedbackPage:
    """One page of feedback, latest first, and the number of matching entries on all pages."""

    total: int
    feedback: list[Feedback]


@dataclass(frozen=True, slots=True)
class MeasuredAccuracy:
    """The share of correct predictions of a version of a model, without bias.

    Measured on the random items of a review queue only.
    """

    source: str  # the queue
    model: str
    version: str
    accuracy: Share


@dataclass(frozen=True, slots=True)
class FeedbackStats:
    """Counts of the stored feedback and predictions."""

    total: int  # feedback
    with_text: int
    labels: dict[str, int]
    sources: dict[str, int]
    compared: int  # feedback with a label that refers to a stored prediction
    correct: int  # of these: the label is that of the prediction
    predictions: int
    measured: list[MeasuredAccuracy]


@dataclass(frozen=True, slots=True)
class Deleted:
    """The number of rows that were deleted."""

    predictions: int
    feedback: int


def page(database: Database, query: FeedbackQuery) -> FeedbackPage:
    """Return the feedback that matches `query`. Raises StoreError."""
    matching = STORED.where(*query.conditions())
    ordered = matching.order_by(feedback.c.created.desc(), feedback.c.id)
    with database.reading() as connection:
        total = connection.scalar(select(func.count()).select_from(matching.subquery())) or 0
        records = connection.execute(ordered.offset(query.offset).limit(query.limit)).mappings()
        return FeedbackPage(total, [feedback_from_record(record) for record in records])


def each(database: Database, query: FeedbackQuery) -> Iterator[Feedback]:
    """Yield all feedback that matches `query`, oldest first. Raises StoreError."""
    ordered = STORED.where(*query.conditions()).order_by(feedback.c.created, feedback.c.id)
    chunk = ordered
    while True:
        with database.reading() as connection:
            records = connection.execute(chunk.limit(_CHUNK_ROWS)).mappings().all()
        yield from map(feedback_from_record, records)
        if len(records) < _CHUNK_ROWS:
            return
        last = (records[-1]["created"], records[-1]["id"])
        chunk = ordered.where(tuple_(feedback.c.created, feedback.c.id) > last)


def stats(database: Database) -> FeedbackStats:
    """Count the stored feedback and predictions. Raises StoreError."""
    stored = STORED.subquery()
    compared = stored.c.label.is_not(None) & stored.c.predicted_label.is_not(None)
    with database.reading() as connection:

        def count(*conditions: ColumnElement[bool]) -> int:
            return (
                connection.scalar(select(func.count()).select_from(stored).where(*conditions)) or 0
            )

        def counts(column: ColumnElement[Any]) -> dict[str, int]:
            query = select(column, func.count()).where(column.is_not(None)).group_by(column)
            return dict(connection.execute(query.order_by(column)).all())

        return FeedbackStats(
            total=count(),
            with_text=count(stored.c.text.is_not(None)),
            labels=counts(feedback.c.label),
            sources=counts(feedback.c.source),
            compared=count(compared),
            correct=count(compared, stored.c.label == stored.c.predicted_label),
            predictions=connection.scalar(select(func.count()).select_from(predictions)) or 0,
            measured=_measured(connection),
        )


def measured_accuracy(database: Database, version: str) -> Share | None:
    """Return the accuracy of a `version` of the model on stored predictions.

    None: none of the random ones has been reviewed. Raises StoreError.
    """
    with database.reading() as connection:
        measured = _measured(connection, predictions.c.version == version)
    return next((m.accuracy for m in measured if m.source == RANDOM_SOURCES[0]), None)


def _measured(connection: Connection, *conditions: ColumnElement[bool]) -> list[MeasuredAccuracy]:
    group = (feedback.c.source, predictions.c.model, predictions.c.version)
    correct = func.count(case((feedback.c.label == predictions.c.label, 1)))
    query = STORED.with_only_columns(*group, correct, func.count()).where(
        feedback.c.source.in_(RANDOM_SOURCES),
        feedback.c.label.is_not(None),
        predictions.c.label.is_not(None),
        *conditions,
    )
    return [
        MeasuredAccuracy(source, model, version, Share.of(count, total))
        for source, model, version, count, total in connection.execute(
            query.group_by(*group).order_by(*group)
        )
    ]


def forget_id(database: Database, stored_id: str) -> Deleted:
    """Delete a prediction and the feedback on it, given the id of either. Raises StoreError."""
    query = select(feedback.c.prediction_id).where(feedback.c.id == stored_id)
    with database.reading() as connection:
        ids = [stored_id, *filter(None, connection.scalars(query))]
    return _delete(
        database,
        predictions.c.id.in_(ids),
        or_(feedback.c.id == stored_id, feedback.c.prediction_id.in_(ids)),
    )


def forget_text(database: Database, text: str) -> Deleted:
    """Delete predictions for `text` and feedback on it, in any case and spacing."""
    digest = text_hash(text)
    return _delete(database, predictions.c.text_hash == digest, feedback.c.text_hash == digest)


def forget_before(database: Database, before: float) -> Deleted:
    """Delete predictions and feedback from before a time in seconds since 1970."""
    return _delete(database, predictions.c.created < before, feedback.c.created < before)


def purge(database: Database) -> None:
    """Erase what was deleted from free pages and the write-ahead log. Raises StoreError."""
    database.purge(predictions.name, feedback.name)


def expire(database: Database, before: float) -> int:
    """Delete predictions and feedback from before a time, and return their number."""
    deleted = forget_before(database, before)
    count = deleted.predictions + deleted.feedback
    if count:
        database.shrink()
    return count


def _delete(
    database: Database, which: ColumnElement[bool], feedback_which: ColumnElement[bool]
) -> Deleted:
    return Deleted(
        predictions=_delete_rows(database, predictions, which),
        feedback=_delete_rows(database, feedback, feedback_which),
    )


def _delete_rows(database: Database, table: Table, condition: ColumnElement[bool]) -> int:
    chunk = select(table.c.id).where(condition).limit(_CHUNK_ROWS).scalar_subquery()
    total = 0
    while True:
        with database.writing() as connection:
            count = connection.execute(delete(table).where(table.c.id.in_(chunk))).rowcount
        total += count
        if count < _CHUNK_ROWS:
            return total
