"""Rows of a table to answers, and to the columns that are added: one way for all who score files.

Knows rows and what a classifier answers; knows neither files nor where rows are kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from reelsense.bundle import Manifest
from reelsense.datasets.tables import Row
from reelsense.errors import TextError
from reelsense.prediction import Explanation, Prediction

_LONGEST = 1_000_000
"""Characters of a text: ten seconds of two cores. What is longer is no text but a mistake, such as
a file without line ends."""

Answer = Prediction | Explanation | str
"""Of a row; a string: why there is none."""

Predict = Callable[[list[str]], Sequence[Prediction | Explanation | TextError]]


def answer_rows(predict: Predict, rows: Sequence[Row], column: str) -> list[Answer]:
    """Return an answer for the text in the `column` of each row, or what is wrong with it."""
    answers: list[Answer] = [row_fault(row, column) for row in rows]
    good = [n for n, fault in enumerate(answers) if not fault]
    texts = [str(rows[n].values[column]) for n in good]
    for n, answer in zip(good, predict(texts), strict=True):
        answers[n] = answer.reason if isinstance(answer, TextError) else answer
    return answers


def row_fault(row: Row, column: str) -> str:
    """Return what is wrong with `row`; blank if nothing is."""
    if row.error:
        return row.error
    if column not in row.values:
        return f"no {column!r} here; there are: {', '.join(row.values)}"
    value = row.values[column]
    if not isinstance(value, str):
        return f"{column!r} is not a text but {json.dumps(value)[:40]}"
    if len(value) > _LONGEST:
        return f"{column!r} is longer than {_LONGEST:,} characters"
    return "" if value.strip() else f"{column!r} is blank"


def added_columns(manifest: Manifest) -> list[str]:
    """Return the names of what the model `manifest` adds to a row, but for its error."""
    return [
        "label",
        "score",
        *(["positive"] if "positive" in manifest.labels else []),
        "verdict",
        *(["stars"] if manifest.ratings else []),
    ]
