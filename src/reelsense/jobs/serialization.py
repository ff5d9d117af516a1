"""Conversion of rows and predictions to and from records of the database."""

from __future__ import annotations

from typing import Any

from reelsense.bulk.rows import Answer
from reelsense.jobs.job import Job
from reelsense.jobs.models import job_answers
from reelsense.prediction import Prediction
from reelsense.tables.delimited import Row
from reelsense.text.clean import LONE_SURROGATE


def row_record(job_id: str, n: int, row: Row, column: str) -> dict[str, object]:
    """Return the record of `job_rows` for row `n` of a job; `column` contains the text."""
    text = row.values.get(column)
    is_separate = isinstance(text, str) and is_storable(text)
    return {
        "job": job_id,
        "n": n,
        "line": row.line,
        "values": row.values | {column: None} if is_separate else row.values,
        "text": text if is_separate else None,
        "fault": row.error,
    }


def row_from_record(record: Any, column: str) -> Row:
    """Return the row of a record of `job_rows`."""
    values = record["values"]
    if record["text"] is not None:
        values[column] = record["text"]
    return Row(record["line"], values, record["fault"])


def answer_record(job: Job, n: int, answer: Answer) -> dict[str, Any]:
    """Return the record of `job_answers` for row `n` of `job`."""
    record: dict[str, Any] = dict.fromkeys(job_answers.c.keys()) | {"job": job.id, "n": n}
    if isinstance(answer, str):
        return record | {"error": answer}
    if not isinstance(answer, Prediction):
        raise TypeError("explanations are not stored")
    return record | {name: getattr(answer, name) for name in job.added}


def is_storable(text: str) -> bool:
    """Return whether every database accepts `text`: no lone surrogates and no zero bytes."""
    return "\0" not in text and not LONE_SURROGATE.search(text)


def row_length(row: Row, column: str) -> int:
    """Return the work for a row, in characters, with a fixed cost for every row."""
    text = row.values.get(column)
    return 20 + (len(text) if isinstance(text, str) else 0)
