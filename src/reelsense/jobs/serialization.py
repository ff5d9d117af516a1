"""Rows and answers as the tables keep them, and back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from reelsense.bulk.rows import Answer
from reelsense.jobs.job import Job
from reelsense.jobs.models import job_answers
from reelsense.prediction import Prediction
from reelsense.tables.delimited import Row
from reelsense.text.clean import LONE_SURROGATE


def kept_row(name: str, n: int, row: Row, column: str) -> dict[str, object]:
    """Return the line of `job_rows` for row `n` of the job `name`."""
    text = row.values.get(column)
    apart = isinstance(text, str) and is_storable(text)
    return {
        "job": name,
        "n": n,
        "line": row.line,
        "values": row.values | {column: None} if apart else row.values,
        "text": text if apart else None,
        "fault": row.error,
    }


def is_storable(text: str) -> bool:
    """Whether every database takes it: no half of a pair, no zero byte."""
    return "\0" not in text and not LONE_SURROGATE.search(text)


def counted(before: dict[str, int], names: Iterable[str | None]) -> dict[str, int]:
    """Return `before` and how many of `names` there are; None does not count."""
    after = Counter(before)
    after.update(name for name in names if name is not None)
    return dict(after)


def rounded(stars: object) -> str | None:
    """Return `stars` as they are counted; None: there are none."""
    return str(int(stars + 0.5)) if isinstance(stars, float) else None


def length(row: Row, column: str) -> int:
    """How much work it is: a row costs something, however short."""
    text = row.values.get(column)
    return 20 + (len(text) if isinstance(text, str) else 0)


def kept_answer(job: Job, n: int, answer: Answer) -> dict[str, Any]:
    """Return the line of `job_answers` for the answer to row `n` of `job`."""
    kept: dict[str, Any] = dict.fromkeys(job_answers.c.keys()) | {"job": job.id, "n": n}
    if isinstance(answer, str):
        return kept | {"error": answer}
    if not isinstance(answer, Prediction):
        raise TypeError("answers are kept without explanations")
    return kept | {name: getattr(answer, name) for name in job.added}


def as_row(kept: Any, column: str) -> Row:
    """Return the row that a line of `job_rows` is."""
    values = kept["values"]
    if kept["text"] is not None:
        values[column] = kept["text"]
    return Row(kept["line"], values, kept["fault"])
