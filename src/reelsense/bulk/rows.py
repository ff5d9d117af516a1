"""Predictions for the rows of a table, and the columns that are added to them.

Shared by file scoring and the jobs of the server. Does not know where rows come from or go to.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import chain
from typing import Any

from reelsense.bundle import Manifest
from reelsense.errors import TextError
from reelsense.prediction import AspectMention, Explanation, Part, Prediction
from reelsense.tables.row import BLANK, Row, quoted, row_text, value_of
from reelsense.text.clean import clean

# Ten seconds on two cores. Longer texts are mistakes, such as a file without line breaks.
_MAX_CHARACTERS = 1_000_000

# The result for a row; a string is the reason why it could not be scored.
Answer = Prediction | Explanation | str

Predict = Callable[[list[str]], Sequence[Prediction | Explanation | TextError]]

EXPLAINED = ("because", "explanation")  # columns that are added if rows are explained


def answer_rows(predict: Predict, rows: Sequence[Row], column: str) -> list[Answer]:
    """Return the prediction for the text in `column` of each row, or why it cannot be scored."""
    answers: list[Answer] = [row_error(row, column) for row in rows]
    valid = [n for n, error in enumerate(answers) if not error]
    texts = [row_text(rows[n], column) for n in valid]
    for n, answer in zip(valid, predict(texts), strict=True):
        answers[n] = answer.reason if isinstance(answer, TextError) else answer
    return answers


def row_error(row: Row, column: str) -> str:
    """Return why the row cannot be scored; blank if it can."""
    if row.error:
        return row.error
    try:
        value = value_of(row, column)
    except KeyError:
        return f"no column {column[:100]!r}; there are: {quoted(list(row.values))}"
    name = repr(column[:100])
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            return f"{name} is not UTF-8 text"
    if value is None:
        return f"{name} is blank"
    if not isinstance(value, str):
        return f"{name} is not a text but {json.dumps(value, default=str)[:40]}"
    if len(value) > _MAX_CHARACTERS:
        return f"{name} is longer than {_MAX_CHARACTERS:,} characters"
    return f"{name} is blank" if value.strip().casefold() in BLANK else ""


def added_columns(manifest: Manifest) -> list[str]:
    """Return the columns that the model adds to a row, without the error."""
    return [
        "label",
        "score",
        *(["positive"] if "positive" in manifest.labels else []),
        "verdict",
        *(["stars"] if manifest.ratings else []),
    ]


def added(answer: Answer, text: str, columns: Sequence[str]) -> dict[str, object]:
    """Return the values that are added to the row of `text`: `columns` and the error."""
    if isinstance(answer, str):
        return dict.fromkeys(columns) | {"error": answer}
    values: dict[str, object] = {"error": None}
    if isinstance(answer, Explanation):
        values |= {
            "because": strongest_sentence(text, answer),
            "explanation": as_dict(text, answer),
        }
        answer = answer.prediction
    return {name: getattr(answer, name) for name in columns if name not in values} | values


def as_dict(text: str, explanation: Explanation) -> dict[str, Any]:
    """Return an explanation of `text` as JSON values. Each part includes its text."""
    fields = asdict(explanation)
    del fields["text"]  # the caller has it
    del fields["prediction"]["features"]
    if explanation.aspects is None:
        del fields["aspects"]
    counterfactual = fields["counterfactual"]
    if counterfactual:
        del counterfactual["prediction"]["features"]
    removed = counterfactual["parts"] if counterfactual else ()
    mentions = fields.get("aspects", ())
    for part in chain(fields["sentences"], fields["words"], removed, mentions):
        part["text"] = text[part["start"] : part["end"]]
    return fields


def strongest_sentence(text: str, explanation: Explanation) -> str:
    """Return the sentence of `text` that supports the prediction most, as cleaned text."""
    support = explanation.support
    return as_read(text, explanation.sentences[support.index(max(support))])


def as_read(text: str, part: Part | AspectMention) -> str:
    """Return a part of `text` after cleaning, without control characters."""
    plain = clean(text[part.start : part.end])
    return "".join(character if character.isprintable() else " " for character in plain)
