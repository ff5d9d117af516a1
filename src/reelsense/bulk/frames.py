"""Predictions for data frames and Series of pandas and polars, which this does not import."""

from __future__ import annotations

import sys
from collections.abc import Hashable
from pathlib import Path
from typing import Any

from reelsense.bulk.rows import added, added_columns
from reelsense.errors import InputError, TextError
from reelsense.inference.classifier import Classifier
from reelsense.tables.row import Columns

_NUMBERS = {"score", "positive", "stars"}  # the other columns are strings


def predict_frame(
    frame: Any,
    *,
    column: Hashable | None = None,
    model: Classifier | str | Path | None = None,
    risk: float | None = None,
) -> Any:
    """Return predictions for a column of a data frame, or for a Series, as a data frame.

    Args:
        frame: A DataFrame or a Series of pandas or polars.
        column: Name of the text column of a DataFrame, or its number (from 1) if no column has that
            name; by default the only column, or one with a usual name (text, review, ...).
        model: A classifier, the name of an installed model, or the folder of a bundle; None: the
            bundled model.
        risk: As in `Classifier.predict`.

    Returns:
        A DataFrame of the same library, with the rows and (in pandas) the index of `frame`, and
        with the columns label, score, positive, verdict, stars and error, as far as the model
        provides them. For a text that cannot be scored, `error` is the reason and the other
        columns are missing values.

    Raises:
        InputError: `frame` is no data frame or Series, or as in `Classifier.predict`.
        DatasetError: The frame has no such column, or several.
        BundleError: The model cannot be loaded.

    Example:
        >>> frame = pd.DataFrame({"review": ["A joy.", ""]}, index=[7, 3])
        >>> pd.concat([frame, predict_frame(frame, column="review")], axis="columns")
    """
    library = _library(frame)
    texts = _series(frame, column)
    classifier = model if isinstance(model, Classifier) else Classifier.load(model)
    columns = added_columns(classifier.manifest)
    rows = [
        added(answer.reason if isinstance(answer, TextError) else answer, "", columns)
        for answer in classifier.predict_each(texts, risk=risk)
    ]
    data = {name: [row[name] for row in rows] for name in (*columns, "error")}
    if library.__name__ == "pandas":
        index = frame.index
        return library.DataFrame(
            {
                name: library.Series(
                    values, index, dtype="float64" if name in _NUMBERS else "string"
                )
                for name, values in data.items()
            }
        )
    types = {name: library.Float64 if name in _NUMBERS else library.String for name in data}
    return library.DataFrame(data, schema=types)


def _series(frame: Any, column: Hashable | None) -> Any:
    """Return the Series of the texts."""
    if not hasattr(frame, "columns"):
        if column is not None:
            raise InputError(
                f"column={column!r} was passed with a Series: expected a DataFrame, or no column",
                code="conflicting-arguments",
            )
        return frame
    # By number, because names may occur twice.
    table = Columns(tuple(map(str, frame.columns)))
    name = None if column is None else str(column)
    number = table.names.index(table.choose(name, "the data frame", flag="column="))
    return frame.iloc[:, number] if hasattr(frame, "iloc") else frame.to_series(number)


def _library(frame: object) -> Any:
    """Return the module pandas or polars, of which `frame` is a DataFrame or a Series."""
    for base in type(frame).__mro__:  # of a subclass such as that of GeoPandas too
        name = base.__module__.partition(".")[0]
        if name in ("pandas", "polars") and base.__name__ in ("DataFrame", "Series"):
            return sys.modules[name]
    raise InputError(
        f"invalid frame of type {type(frame).__module__}.{type(frame).__qualname__}: expected a "
        "DataFrame or a Series of pandas or polars; for a LazyFrame, call collect()",
        code="not-a-frame",
    )
