"""Rows of a table to answers, and to the columns that are added: one way for all who score files.

Knows rows and what a classifier answers; knows neither files nor where rows are kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from reelsense.bundle import Manifest
from reelsense.errors import TextError
from reelsense.prediction import Explanation, Part, Prediction
from reelsense.tables.delimited import Row
from reelsense.text.clean import clean

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
        return f"{column!r} is not a text but {json.dumps(value, default=str)[:40]}"
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


EXPLAINED = ("because", "explanation")
"""The names of what is added where rows are explained."""


def added(answer: Answer, text: str, columns: Sequence[str]) -> dict[str, object]:
    """Return what is added to the row of `text`: `columns`, those of EXPLAINED too, and error."""
    if isinstance(answer, str):
        return dict.fromkeys(columns) | {"error": answer}
    why: dict[str, object] = {}
    if isinstance(answer, Explanation):
        why = dict(zip(EXPLAINED, (strongest(text, answer), as_dict(text, answer)), strict=True))
        answer = answer.prediction
    said = {name: why[name] if name in why else getattr(answer, name) for name in columns}
    return said | {"error": None}


def as_dict(text: str, found: Explanation) -> dict[str, Any]:
    """Return `found`, about `text`, ready for JSON: its fields, and with each part its text."""
    told = asdict(found)
    for parts in (
        told["sentences"],
        told["words"],
        told["counterfactual"]["parts"] if found.counterfactual else (),
    ):
        for part in parts:
            part["text"] = text[part["start"] : part["end"]]
    return told


def strongest(text: str, found: Explanation) -> str:
    """Return the sentence of `text` that speaks most for the answer, as the model reads it."""
    support = found.support
    return as_read(text, found.sentences[support.index(max(support))])


def as_read(text: str, part: Part) -> str:
    """Return the part of `text` as the model reads it, without what would steer a terminal."""
    plain = clean(text[part.start : part.end])
    return "".join(letter if letter.isprintable() else " " for letter in plain)
