"""Conversion of rows and predictions to and from records of the database."""

from __future__ import annotations

import json
from typing import Any

from reelsense.bulk.rows import Answer
from reelsense.jobs.job import Job, NewJob
from reelsense.jobs.models import job_answers
from reelsense.prediction import Prediction
from reelsense.summary.columns import Column, other_cells
from reelsense.tables.row import Row, row_text
from reelsense.text.clean import LONE_SURROGATE

_ROW_BYTES = 200  # of keys, line number, prediction and indexes

_MAX_ERROR = 300  # characters: it is stored for every row that cannot be scored


def row_record(job_id: str, n: int, row: Row, job: NewJob) -> dict[str, object]:
    """Return the record of `job_rows` for row `n` of a job."""
    text = row.values.get(job.column)
    is_separate = isinstance(text, str) and is_storable(text)
    values = row.values | {job.column: None} if is_separate else row.values
    return {
        "job": job_id,
        "n": n,
        "line": row.line,
        "values": values if job.header is None else [values.get(name) for name in job.names],
        "text": text if is_separate else None,
        "fault": row.error[:_MAX_ERROR] if row.error else None,
        "cells": "\n".join(other_cells(row, job.column).values()).replace("\0", " ") or None,
    }


def row_from_record(record: Any, job: NewJob) -> Row:
    """Return the row of a record of `job_rows`."""
    values = record["values"]
    if isinstance(values, list):
        values = dict(zip(job.names, values, strict=True))
    if record["text"] is not None:
        values[job.column] = record["text"]
    return Row(record["line"], values, record["fault"])


def record_bytes(record: dict[str, Any]) -> int:
    """Return the approximate size of a record of `job_rows`, and of its prediction."""
    parts = (record["text"], json.dumps(record["values"]), record["fault"], record["cells"])
    return _ROW_BYTES + sum(len(part.encode(errors="surrogatepass")) for part in parts if part)


def column_record(job_id: str, n: int, column: Column) -> dict[str, object]:
    """Return the record of `job_columns` for column `n` of a job."""
    content = [list(column.values), column.codes.tolist()]
    return {"job": job_id, "n": n, "name": column.name, "kind": column.kind, "content": content}


def column_bytes(column: Column) -> int:
    """Return the approximate size of a record of `job_columns`."""
    values = sum(len(value.encode()) + 4 for value in column.values)
    return values + len(column.codes) * (2 + len(str(len(column.values))))


def answer_record(job: Job, n: int, answer: Answer) -> dict[str, Any]:
    """Return the record of `job_answers` for row `n` of `job`."""
    record: dict[str, Any] = dict.fromkeys(job_answers.c.keys()) | {"job": job.id, "n": n}
    if isinstance(answer, str):
        return record | {"error": answer[:_MAX_ERROR]}
    if not isinstance(answer, Prediction):
        raise TypeError("explanations are not stored")
    return record | {name: getattr(answer, name) for name in job.added}


def is_storable(text: str) -> bool:
    """Return whether every database accepts `text`: no lone surrogates and no zero bytes."""
    return "\0" not in text and not LONE_SURROGATE.search(text)


def row_length(row: Row, column: str) -> int:
    """Return the work for a row, in characters, with a fixed cost for every row."""
    return 20 + len(row_text(row, column))
