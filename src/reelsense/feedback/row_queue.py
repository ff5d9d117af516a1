"""The review queue for the rows of a job: at most 1,000 of them, drawn by a hash of its id."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import cached_property
from random import Random
from typing import Any

from sqlalchemy import Select, case, func, select

from reelsense.datasets.labelled_table import LABEL_COLUMNS, Labels
from reelsense.feedback.queue import RANDOM, REASONS, ROWS, SOURCES, SUSPECT, QueueItem
from reelsense.feedback.records import KeptPrediction, id_from
from reelsense.feedback.repository import FeedbackRepository
from reelsense.jobs.job import Job, check_ended
from reelsense.jobs.models import feedback, job_answers, job_rows
from reelsense.jobs.repository import JobRepository
from reelsense.prediction import UNSURE, Prediction, TokenCounts

_MAX_ROWS = 1000  # more than a person reviews
_RANDOM_STEP = 4  # every fourth of them is random
_MAX_VALUES = 10_000  # characters of the values of a row in which a label is looked for


class RowQueue:
    """The rows of a job that has ended. If a column of the file has labels, it finds suspects.

    Args:
        jobs: The jobs.
        job: The job.

    Raises:
        JobStateError: The job has not ended.
    """

    name = ROWS

    def __init__(self, jobs: JobRepository, job: Job) -> None:
        check_ended(job)
        self._jobs, self._job = jobs, job

    def keys(self, skipped: Collection[str], limit: int) -> dict[str, list[str]]:
        """See `ReviewQueue`."""
        keys: dict[str, list[str]] = {reason: [] for reason in REASONS}
        for item in self._waiting.values():
            if item.key not in skipped and len(keys[item.reason]) < limit:
                keys[item.reason].append(item.key)
        return keys

    def find(self, key: str) -> QueueItem | None:
        """See `ReviewQueue`. Raises NoJobError if the job was deleted."""
        item = self._waiting.get(key)
        return item and replace(item, text=self._jobs.text(self._job, int(key)))

    def prediction_id(self, item: QueueItem) -> str:
        """See `ReviewQueue`."""
        prediction = Prediction(
            label=item.label,
            score=item.score,
            probabilities={item.label: item.score},  # jobs do not store the others
            threshold=None,
            verdict=item.verdict,
            stars=None,
            tokens=TokenCounts(0, 0),
        )
        kept = KeptPrediction(
            text=item.text,
            prediction=prediction,
            model=self._job.model,
            version=self._job.version or "",
            share=None,
            id=self._id(int(item.key)),
        )
        # Without the text: only those who know the id of the job may read it.
        FeedbackRepository(self._jobs.database).add_missing(kept)
        return kept.id

    def _id(self, n: int) -> str:
        """Return the id of the prediction for row `n`. The id of the job cannot be told from it."""
        return id_from(f"{self._job.id} {n}")

    @cached_property
    def _waiting(self) -> dict[str, QueueItem]:
        """The items by key, without their texts."""
        count = self._job.rows
        drawn = Random(self._job.id).sample(range(count), min(count, _MAX_ROWS))
        random = set(drawn[::_RANDOM_STEP])
        ids = {self._id(n): n for n in drawn}
        query = select(feedback.c.prediction_id).where(
            feedback.c.prediction_id.in_(ids), feedback.c.source.in_(SOURCES)
        )
        with self._jobs.database.reading() as connection:
            reviewed = {ids[prediction_id] for prediction_id in connection.scalars(query)}
            rows = connection.execute(self._rows(drawn)).mappings()
            records = {record["n"]: record for record in rows}
        items = (
            self._item(records[n], is_random=n in random)
            for n in drawn
            if n in records and n not in reviewed
        )
        return {item.key: item for item in items if item}

    def _rows(self, drawn: Collection[int]) -> Select[Any]:
        values = job_rows.c["values"]
        short = case((func.length(values) < _MAX_VALUES, values)).label("values")
        same_row = (job_rows.c.job == job_answers.c.job) & (job_rows.c.n == job_answers.c.n)
        return (
            select(job_answers, short)
            .join(job_rows, same_row)
            .where(
                job_answers.c.job == self._job.id,
                job_answers.c.n.in_(drawn),
                job_answers.c.error.is_(None),
            )
        )

    def _item(self, record: Mapping[Any, Any], *, is_random: bool) -> QueueItem | None:
        """Return the item for a row, without its text; None if nothing is to be checked."""
        label, verdict, given = record["label"], record["verdict"], None
        if is_random:
            reason = RANDOM
        elif verdict == UNSURE:
            reason = UNSURE
        elif (given := self._given(record["values"])) not in (None, label):
            reason = SUSPECT
        else:
            return None
        return QueueItem(str(record["n"]), reason, "", label, record["score"], verdict, given)

    def _given(self, values: Any) -> str | None:
        """Return the label that a row has in the file; None if it has none of the model."""
        if isinstance(values, list):
            values = dict(zip(self._job.names, values, strict=True))
        named = {
            name.strip().casefold(): value
            for name, value in (values or {}).items()
            if name != self._job.column
        }
        value = next((named[name] for name in LABEL_COLUMNS if name in named), None)
        try:
            label = Labels().name(value)
        except ValueError:  # not a label, but for example a list
            return None
        return label if label in self._job.labels else None
